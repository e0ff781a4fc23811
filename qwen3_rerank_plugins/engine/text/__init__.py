"""Turns a request into token IDs, and token scores back into document scores."""
