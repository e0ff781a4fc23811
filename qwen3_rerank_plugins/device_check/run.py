"""Run all checks that a device allows, and make the record that its owner can send."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch

from qwen3_rerank_plugins._records.record import make_record, note_circumstances
from qwen3_rerank_plugins.device_check.check import Check, survive
from qwen3_rerank_plugins.device_check.engines import STORED, random_checkpoint
from qwen3_rerank_plugins.device_check.independence import check_independence, check_several_devices
from qwen3_rerank_plugins.device_check.kernels import check_against_stock, check_kernels
from qwen3_rerank_plugins.device_check.memory import check_memory
from qwen3_rerank_plugins.device_check.requests import SMALL, TINY
from qwen3_rerank_plugins.device_check.subject import Subject
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.budget import LARGEST_AUTO_BUDGET
from qwen3_rerank_plugins.engine.loading.placement import choose_device
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape
from qwen3_rerank_plugins.engine.memory import free_memory
from qwen3_rerank_plugins.engine.settings import Dtype

ShapeName = Literal["0.6b", "4b", "8b"]
Part = Callable[[Subject, torch.dtype], Iterator[Check]]

SMALL_PARTS: dict[str, Part] = {
    "kernels": check_kernels,
    "independence": check_independence,
    "several devices": check_several_devices,
    "memory": check_memory,
}
PUBLISHED_PARTS: dict[str, Part] = {
    "stock path": check_against_stock,
    "independence": check_independence,
    "memory": check_memory,
}


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceCheck:
    """What to check.

    Attributes:
        device: as in the settings; "auto" and "cuda" use every GPU for the check of replicas.
        devices: devices for the check of replicas; the first is `device`. None chooses them.
        dtype: the only dtype to check; "auto" checks every dtype that the device computes well.
        shape: a published shape to check too, if it fits.
    """

    device: str = "auto"
    devices: tuple[str, ...] | None = None
    dtype: Dtype = "auto"
    shape: ShapeName | None = None


def run_checks(asked: DeviceCheck, tell: Callable[[Check], None]) -> dict[str, Any]:
    """Run all checks and return the record.

    Args:
        asked: what to check.
        tell: called with each check as soon as it is done.

    Raises:
        SettingsError: the device does not exist here.
    """
    device, _ = choose_device(asked.devices[0] if asked.devices else asked.device)
    names = f"random weights, small{f' and {asked.shape}' if asked.shape else ''}"
    circumstances = note_circumstances(names, device, dtypes_of(asked, device)[0])
    checks: list[Check] = []
    for check in itertools.chain(small_checks(asked, device), published_checks(asked, device)):
        checks.append(check)
        tell(check)
    results = {"passed": passed(checks), "device": describe_device(device), "checks": checks}
    return make_record("device-check", circumstances, results)


def passed(checks: list[Check]) -> bool:
    """Return whether no check failed."""
    return all(check.passed is not False for check in checks)


def small_checks(asked: DeviceCheck, device: torch.device) -> Iterator[Check]:
    """Yield the checks on a small shape, dtype by dtype."""
    with small_subject(asked, device) as subject:
        for dtype in dtypes_of(asked, device):
            for name, part in SMALL_PARTS.items():
                yield from survive(subject.name(dtype, name), functools.partial(part, subject, dtype))


def published_checks(asked: DeviceCheck, device: torch.device) -> Iterator[Check]:
    """Yield the checks on the published shape that was asked for, if any, in 16 bits unless float32 was asked for."""
    if asked.shape is None:
        return
    shape = PUBLISHED[f"Qwen/Qwen3-Reranker-{asked.shape.upper()}"]
    dtypes = [dtype for dtype in dtypes_of(asked, device) if dtype != torch.float32] or [torch.float32]
    if obstacle := _lack_of_memory(shape, dtypes, device):
        yield Check(asked.shape, note=obstacle)
        return
    with random_checkpoint(shape) as folder:
        subject = Subject(folder, shape, asked.shape, device, (), spread=False, published=True)
        for dtype in dtypes:
            for name, part in PUBLISHED_PARTS.items():
                yield from survive(subject.name(dtype, name), functools.partial(part, subject, dtype))


@contextlib.contextmanager
def small_subject(asked: DeviceCheck, device: torch.device) -> Iterator[Subject]:
    """Yield a small random model on a device; it is deleted afterwards."""
    shape = SMALL if device.type == "cuda" else TINY
    everywhere = asked.devices is None and asked.device in ("auto", device.type)
    spread = everywhere and (device.type == "cuda" or not torch.accelerator.is_available())
    with random_checkpoint(shape) as folder:
        yield Subject(folder, shape, "", device, asked.devices or _replicas(device, everywhere=everywhere), spread)


def _replicas(device: torch.device, *, everywhere: bool) -> tuple[str, ...]:
    """Return every GPU, or the one device twice."""
    count = torch.cuda.device_count() if device.type == "cuda" and everywhere else 1
    return tuple(f"cuda:{index}" for index in range(count)) if count > 1 else (str(device), str(device))


def dtypes_of(asked: DeviceCheck, device: torch.device) -> list[torch.dtype]:
    """Return the dtypes to check on a device; bfloat16 on CUDA needs compute capability 8.0."""
    if asked.dtype != "auto":
        return [getattr(torch, asked.dtype)]
    if device.type == "cuda":
        in_16_bits = [torch.bfloat16] * (torch.cuda.get_device_capability(device) >= (8, 0)) + [torch.float16]
        return [*in_16_bits, torch.float32]
    return [torch.float32, torch.bfloat16 if device.type == "cpu" else torch.float16]


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return what a reader of the record wants to know about the device."""
    described: dict[str, Any] = {"device": str(device), "cuda": torch.version.cuda, "free_bytes": free_memory(device)}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        described |= {
            "count": torch.cuda.device_count(),
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
        }
    return described


def _lack_of_memory(shape: Shape, dtypes: list[torch.dtype], device: torch.device) -> str:
    """Return what a shape needs and this machine does not have; empty if it fits."""
    widest = max((*dtypes, STORED), key=lambda dtype: dtype.itemsize)
    batch = BatchMemory(shape, widest, device.type).bytes(LARGEST_AUTO_BUDGET)
    for what, needed, free in (
        (f"memory of {device}", shape.weight_bytes(widest) + batch, free_memory(device)),
        ("space for temporary files", shape.weight_bytes(STORED), shutil.disk_usage(tempfile.gettempdir()).free),
    ):
        if needed > free:
            return f"it needs {needed / 2**30:.1f} GiB of {what}, and {free / 2**30:.1f} GiB are free"
    return ""
