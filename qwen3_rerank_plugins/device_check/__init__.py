"""The checks of `qwen3-rerank doctor --check`: the engine on this device, with random weights, against slow references.

No checkpoint and no network are needed. Speed is not measured here; `bench` measures it.
"""
