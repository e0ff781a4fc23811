"""How many threads of the CPU a model runs on, and why.

More threads than the process may use at one time make every pass wait: after each operation all of them meet, and those
that came first burn the time that the last one needs. A count is set for one thread of this process only; torch's own
call would set it for every thread that starts later.
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
"""Parameters of a layer below which a model runs on one thread. It lies between the demo (0.15 million), which a second
thread slows down more than tenfold beside busy neighbors, and the 0.6B (16 million), which it slows down by six tenths
there. The figures are in benchmarks/results/cpu-threads.json."""
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True, slots=True)
class Threads:
    """How many, and why."""

    count: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Cpus:
    """What the process may use of the machine's CPUs.

    Attributes:
        cores: cores that it may run on; two hyperthreads of one core count once.
        quota: CPUs that its control groups grant it, infinity without a limit.
        torch: threads that torch would take: those of all cores, or fewer if the program told torch so.
        variable: the environment variable that sets torch's number, if there is one.
    """

    cores: int
    quota: float
    torch: int
    variable: str | None = None


def choose_threads(asked: int | Literal["auto"], layer_parameters: int, cpus: Cpus, models: int = 1) -> Threads:
    """The threads of one model on the CPU.

    Args:
        asked: as of the settings.
        layer_parameters: parameters of one decoder layer.
        cpus: what there is.
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
    """The threads of a model on this machine, by its config.json; called on the thread that will run it."""
    shape = Shape.from_config(complete_config(config))
    return choose_threads(asked, shape.layer_parameters // shape.layers, find_cpus(), models)


def find_cpus() -> Cpus:
    """Look at the machine and the process; torch's number is that of the calling thread."""
    variable = next((name for name in _VARIABLES if os.environ.get(name)), None)
    return Cpus(allowed_cores(), cgroup_cpus(), torch.get_num_threads(), variable)


def use_threads(count: int) -> None:
    """Let the calling thread, and no other, run its operations on so many threads."""
    torch.get_num_threads()  # the first call in a thread sets torch's own number, and must not come later
    threadpoolctl.threadpool_limits(limits=count, user_api="openmp")  # OpenMP keeps a number for each calling thread
    mkl = _mkl_of_torch()
    if mkl is not None:
        mkl(ctypes.c_int(count))


@functools.cache
def _mkl_of_torch() -> Any:
    """The function of the MKL inside torch that sets its threads for the calling thread; None where there is no MKL."""
    for name in ("libtorch_cpu.so", "torch_cpu.dll", "libtorch_cpu.dylib"):
        library = Path(torch.__file__).parent / "lib" / name
        if library.is_file():
            return getattr(ctypes.CDLL(str(library)), "MKL_Set_Num_Threads_Local", None)
    return None


def allowed_cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Cores that this process may run on."""
    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):  # macOS
        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return count_cores(process.cpu_affinity(), topology)


def count_cores(cpus: Collection[int], topology: Path) -> int:
    """Distinct cores behind CPUs; each CPU is one, where the system does not say which share a core."""
    try:
        siblings = {
            (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii") for cpu in cpus
        }
    except OSError:
        return min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))
    return len(siblings)


def cgroup_cpus(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> float:
    """CPUs that the control groups of this process grant it, the fewest up the tree; infinity without a limit."""
    return min(map(_quota_of, find_groups("cpu", membership, mount)), default=math.inf)


def _quota_of(group: Path) -> float:
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            allowed, period = " ".join((group / file).read_text(encoding="ascii") for file in files).split()
            if int(allowed) > 0:  # -1 is no limit in version 1
                return int(allowed) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
            continue
    return math.inf
