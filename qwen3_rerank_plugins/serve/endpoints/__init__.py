"""The endpoints: `rerank`, `score`, `openai`, and `pages`; the JSON that they read and write."""
