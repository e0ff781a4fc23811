"""All parts of `python -m benchmarks.gpu`, the most important first, each with its share of the time."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import torch

from benchmarks.gpu_parts import anatomy, speed
from benchmarks.gpu_parts.isolation import Part
from benchmarks.gpu_parts.stage import SHAPES, Item, Stage
from qwen3_rerank_plugins._records.record import note_circumstances
from qwen3_rerank_plugins.bench.cost import measure_gemm_rate
from qwen3_rerank_plugins.device_check.check import Check
from qwen3_rerank_plugins.device_check.independence import check_independence
from qwen3_rerank_plugins.device_check.run import (
    PUBLISHED_PARTS,
    SMALL_PARTS,
    DeviceCheck,
    describe_device,
    dtypes_of,
    passed,
    small_subject,
)
from qwen3_rerank_plugins.device_check.run import Part as CheckPart
from qwen3_rerank_plugins.device_check.subject import Subject

_SHARES_OF_SPEED = {"8b": 0.1, "4b": 0.06, "0.6b": 0.03, "tiny": 0.1}


def parts_for(shapes: tuple[str, ...]) -> list[Part]:
    """Return all parts for these shapes."""
    speeds = [
        Part(
            f"speed-{shape}-{dtype}",
            _SHARES_OF_SPEED[shape],
            functools.partial(speed.beside_others, shape=shape, dtype=dtype),
        )
        for dtype in ("bfloat16", "float16")
        for shape in shapes
    ]
    return [
        Part("check", 0.2, check),
        *speeds,
        Part("kernels", 0.1, speed.kernels),
        Part("attention", 0.08, speed.attention),
        Part("quantization", 0.08, speed.quantization),
        Part("profile", 0.04, anatomy.profile_kernels),
        Part("memory", 0.04, anatomy.memory),
        Part("independence", 0.02, independence),
        Part("loading", 0.03, anatomy.loading),
        Part("latency", 0.03, speed.latency),
        Part("gemm", 0.02, gemm),
    ]


def device(stage: Stage) -> Iterator[Item]:
    """Note the circumstances. It runs in its own process, so that the parent holds no memory of the device."""
    label = f"random weights, {', '.join(stage.shapes)}"
    yield "circumstances", lambda: note_circumstances(label, stage.torch_device, torch.bfloat16)
    yield "device", lambda: describe_device(stage.torch_device)


def check(stage: Stage) -> Iterator[Item]:
    """Run the checks of `doctor --check` on a small shape, and on the first shape in 16 bits."""
    asked = DeviceCheck(device=stage.device)
    dtypes = dtypes_of(asked, stage.torch_device)
    with small_subject(asked, stage.torch_device) as small:
        yield from _groups(small, dtypes, SMALL_PARTS)
    if stage.shapes[0] != "tiny":
        others = {name: part for name, part in PUBLISHED_PARTS.items() if name != "independence"}
        yield from _groups(_first_shape(stage), [dtype for dtype in dtypes if dtype != torch.float32], others)


def independence(stage: Stage) -> Iterator[Item]:
    """Compare scores alone and in a batch, on the first shape in both 16-bit dtypes."""
    yield from _groups(_first_shape(stage), [torch.bfloat16, torch.float16], {"independence": check_independence})


def gemm(stage: Stage) -> Iterator[Item]:
    """Measure the GEMM rate of every shape in both 16-bit dtypes, in FLOP/s."""
    for shape in stage.shapes:
        for dtype in (torch.bfloat16, torch.float16):
            name = f"{shape}, {str(dtype).removeprefix('torch.')}"
            yield name, functools.partial(measure_gemm_rate, SHAPES[shape], dtype, stage.torch_device)


def _first_shape(stage: Stage) -> Subject:
    shape = stage.shapes[0]
    return Subject(
        stage.subject(shape).folder,
        SHAPES[shape],
        shape,
        stage.torch_device,
        (),
        spread=False,
        published=shape != "tiny",
    )


def _groups(subject: Subject, dtypes: Sequence[torch.dtype], groups: Mapping[str, CheckPart]) -> Iterator[Item]:
    """Yield one measurement per group of checks, so that a group that runs out of time loses only itself."""
    for dtype in dtypes:
        for name, group in groups.items():
            yield subject.name(dtype, name), lambda group=group, dtype=dtype: _verdict(group(subject, dtype))  # type: ignore[misc]


def _verdict(checks: Iterator[Check]) -> dict[str, object]:
    found = []
    for one in checks:
        found.append(one)
        print(one.line(), flush=True)
    return {"passed": passed(found), "checks": found}
