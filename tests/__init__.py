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
