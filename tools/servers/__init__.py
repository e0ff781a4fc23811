"""Real rerank servers from PyPI, started on this machine with the demo checkpoint."""
