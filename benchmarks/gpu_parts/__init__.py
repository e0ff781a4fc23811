"""The parts of `python -m benchmarks.gpu`, and the processes that they run in."""
