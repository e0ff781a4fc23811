"""The commands of qwen3-rerank, one file each."""
