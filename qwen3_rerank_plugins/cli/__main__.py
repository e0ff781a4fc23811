"""`python -m qwen3_rerank_plugins.cli` runs `qwen3-rerank`."""

from qwen3_rerank_plugins.cli import main

main()
