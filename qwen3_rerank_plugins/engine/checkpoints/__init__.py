"""Finds, downloads and validates checkpoints. Nothing here loads weights."""
