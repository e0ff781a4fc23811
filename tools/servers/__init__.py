"""Start real rerank servers from PyPI with the demo checkpoint."""
