"""`python -m qwen3_rerank_plugins.cli` does what `qwen3-rerank` does."""

from qwen3_rerank_plugins.cli import main

main()
