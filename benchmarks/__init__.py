"""Studies of the engine that run from a checkout only: `python -m benchmarks STUDY`."""
