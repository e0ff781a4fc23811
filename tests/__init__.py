"""The test suite. Without a GPU, Triton interprets its kernels on the CPU, which it has to know when it is imported."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
