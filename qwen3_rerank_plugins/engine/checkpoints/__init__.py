"""Find, download and check checkpoints. No weights are loaded here."""
