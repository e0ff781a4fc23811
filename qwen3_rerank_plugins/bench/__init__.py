"""Speed beside other implementations, and memory: the studies of `qwen3-rerank bench`. Needs the extra `bench`.

The studies of the engine's internals run from a checkout only: `python -m benchmarks`.
"""
