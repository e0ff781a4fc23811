"""The packed forward pass, from a batch plan to log-odds."""
