"""A tiny random model on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from qwen3_rerank_plugins.device_check.run import DeviceCheck, small_subject
from qwen3_rerank_plugins.device_check.subject import Subject


@pytest.fixture(scope="session")
def subject() -> Iterator[Subject]:
    with small_subject(DeviceCheck(device="cpu"), torch.device("cpu")) as found:
        yield found
