"""Studies of the engine that run from a checkout: `python -m benchmarks STUDY`."""
