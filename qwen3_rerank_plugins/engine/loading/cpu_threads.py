"""Choose how many CPU threads a model uses.

With more threads than CPUs, every batch gets slower: after each operation all threads synchronize, and those that
finish first keep a CPU busy while they wait. The number is set for one thread of this process only; torch's function
would set it for every thread that starts later.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import math
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import psutil
import threadpoolctl
import torch

from qwen3_rerank_plugins.engine.checkpoints.model_sizes import complete_config
from qwen3_rerank_plugins.engine.control_groups import MEMBERSHIP, MOUNT, find_groups
from qwen3_rerank_plugins.engine.loading.shape import Shape

SMALLEST_SHARED_LAYER = 2_000_000
"""Parameters of a layer below which a model uses one thread. It lies between the demo (0.15 million) and the 0.6B model
(16 million). On busy CPUs a second thread makes the demo more than ten times slower, and the 0.6B model six tenths
slower. The measurements are in benchmarks/results/cpu-threads.json."""
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True, slots=True)
class Threads:
    """A number of threads, and the reason for it."""

    count: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cpus:
    """The CPUs that the process may use.

    Attributes:
        cores: cores that it may run on; two hyperthreads of one core count once.
        quota: CPUs that its control groups grant it; infinity without a limit.
        torch: threads that torch would use: one for each core, or fewer if the program set a lower number.
        variable: the environment variable that sets torch's number, if any.
    """

    cores: int
    quota: float
    torch: int
    variable: str | None = None


def choose_threads(asked: int | Literal["auto"], layer_parameters: int, cpus: Cpus, models: int = 1) -> Threads:
    """Choose the threads of one model on the CPU.

    Args:
        asked: as in the settings.
        layer_parameters: parameters of one decoder layer.
        cpus: the CPUs of the process.
        models: how many models share the CPUs.
    """
    if asked != "auto":
        return Threads(asked, "asked for")
    if cpus.variable:
        return Threads(cpus.torch, f"{cpus.variable} is set")
    if layer_parameters < SMALLEST_SHARED_LAYER:
        return Threads(1, "more do not help a model this small")
    limits = [
        (cpus.torch, "torch's own number"),
        (cpus.cores, "one for each core that this process may use"),
        (max(1, math.floor(min(cpus.quota, sys.maxsize))), f"a quota of {cpus.quota:g} CPUs"),
    ]
    count, reason = min(limits, key=lambda limit: limit[0])
    if models > 1:
        return Threads(max(1, count // models), f"{reason}, for {models} models")
    return Threads(count, reason)


def threads_for(asked: int | Literal["auto"], config: dict[str, Any], models: int = 1) -> Threads:
    """Choose the threads of a model by its config.json. Call it on the thread that will run the model."""
    shape = Shape.from_config(complete_config(config))
    return choose_threads(asked, shape.layer_parameters // shape.layers, find_cpus(), models)


def find_cpus() -> Cpus:
    """Return the CPUs of the process; torch's number is that of the calling thread."""
    variable = next((name for name in _VARIABLES if os.environ.get(name)), None)
    return Cpus(allowed_cores(), cgroup_cpus(), torch.get_num_threads(), variable)


def use_threads(count: int) -> None:
    """Set the number of threads for operations of the calling thread only."""
    torch.get_num_threads()  # the first call on a thread sets torch's default, so it must come before the next lines
    threadpoolctl.threadpool_limits(limits=count, user_api="openmp")  # OpenMP keeps a number for each calling thread
    mkl = _mkl_of_torch()
    if mkl is not None:
        mkl(ctypes.c_int(count))


@functools.cache
def _mkl_of_torch() -> Any:
    """Return the function of torch's MKL that sets the threads of the calling thread; None without MKL."""
    for name in ("libtorch_cpu.so", "torch_cpu.dll", "libtorch_cpu.dylib"):
        library = Path(torch.__file__).parent / "lib" / name
        if library.is_file():
            return getattr(ctypes.CDLL(str(library)), "MKL_Set_Num_Threads_Local", None)
    return None


def allowed_cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Return the number of cores that this process may run on."""
    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):  # macOS
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return count_cores(process.cpu_affinity(), topology)


def count_cores(cpus: Collection[int], topology: Path) -> int:
    """Count the distinct cores of CPUs. If the system does not say which CPUs share a core, each counts as one."""
    try:
        siblings = {
            (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii") for cpu in cpus
        }
    except OSError:
        return min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))
    return len(siblings)


def cgroup_cpus(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> float:
    """Return the lowest CPU quota among this process's control groups and their parents; infinity without a limit."""
    return min(map(_quota_of, find_groups("cpu", membership, mount)), default=math.inf)


def _quota_of(group: Path) -> float:
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            allowed, period = " ".join((group / file).read_text(encoding="ascii") for file in files).split()
            if int(allowed) > 0:  # in version 1, -1 means no limit
                return int(allowed) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
            continue
    return math.inf
