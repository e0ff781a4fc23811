"""Public clients of rerank services, asked in an environment of their own."""
