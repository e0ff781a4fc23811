"""The commands of qwen3-rerank, one per file."""
