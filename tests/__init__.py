"""The test suite. Without a GPU, Triton interprets its kernels on the CPU, which it has to know when it is imported."""

import contextlib
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
    with contextlib.suppress(ImportError):  # a partial environment has no Triton
        import triton

        triton.knobs.runtime.interpret = True
    del os.environ["TRITON_INTERPRET"]  # programs that tests start are those of users, who have not set it

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default, 15, starves its workers beside a busy test
# Ray would report usage from a thread that outlives its cluster. When that thread logs a traceback, Python 3.11 parses
# source in it, which breaks an `ast.parse` of a test at the same moment (SystemError: recursion depth mismatch).
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
