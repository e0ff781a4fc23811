"""Measure which matrix products are the fastest on this CPU, and check them, in some milliseconds before a model loads.

The flags of a processor do not tell. On AMD, torch's own float32 products may run at half of oneDNN's rate; a processor
may have instructions for bfloat16 that an environment variable keeps oneDNN from using.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from qwen3_rerank_plugins._printable import logger, one_line
from qwen3_rerank_plugins.engine.concurrency.lifetime import loading_alone
from qwen3_rerank_plugins.engine.concurrency.threads import start_refused
from qwen3_rerank_plugins.engine.kernels import onednn

Library = Literal["torch", "onednn"]
Contender = tuple[Library, torch.dtype]
"""A library and the dtype of its factors."""

CONTENDERS: tuple[Contender, ...] = (
    ("torch", torch.float32),
    ("onednn", torch.float32),
    ("torch", torch.bfloat16),
    ("onednn", torch.bfloat16),
    ("onednn", torch.int8),
)
_ROWS = 128
_LONGEST_SIDE = 1024
"""Longest side of the matrix, so that the race stays short for a large model. Larger ones give the same ratios."""
_ROUNDS = 4
_HOPELESS = 3
"""How many times as long as the fastest a product may take to be measured again."""
_BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 2**-6, torch.int8: 2**-5}
"""Largest difference from float32, as a share of the largest value: a few roundings of the dtype."""


@dataclasses.dataclass(frozen=True)
class ProductRates:
    """FLOP/s of one thread, or 0 for products that cannot run here or are wrong."""

    rates: Mapping[Contender, float]

    @property
    def by_name(self) -> dict[str, float]:
        """The rates by a name such as "onednn bfloat16"."""
        return {f"{library} {str(dtype).removeprefix('torch.')}": rate for (library, dtype), rate in self.rates.items()}

    def best(self, dtype: torch.dtype) -> float:
        """Return the rate of the faster library in a dtype."""
        return max(rate for (_, factors), rate in self.rates.items() if factors == dtype)

    def of(self, library: Library, dtype: torch.dtype) -> float:
        """Return the rate of a library in a dtype."""
        return self.rates.get((library, dtype), 0.0)


@functools.cache
def race_products(inputs: int, outputs: int) -> ProductRates:
    """Return the rates for matrices of about [outputs, inputs], measured once a process.

    They are measured in a thread of their own, so that the caller's number of threads stays as it is. One thread is
    enough: the libraries differ within a core.

    Raises:
        ThreadStartError: no thread could start.
    """
    with loading_alone(), ThreadPoolExecutor(1, "qwen3-rerank-race") as pool:
        try:
            rates = pool.submit(_race, min(inputs, _LONGEST_SIDE), min(outputs, _LONGEST_SIDE))
        except RuntimeError as error:
            raise start_refused("qwen3-rerank-race", error) from error
        return rates.result()


@torch.inference_mode()
def _race(inputs: int, outputs: int) -> ProductRates:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    states, weight = torch.randn(_ROWS, inputs, generator=generator), torch.randn(outputs, inputs, generator=generator)
    exact = functional.linear(states, weight)
    products: dict[Contender, Callable[[], Tensor]] = {}
    for library, dtype in CONTENDERS:
        product = _prepare(library, dtype, states, weight)
        if product is not None and _is_right(library, dtype, product, exact):
            products[library, dtype] = product
    seconds = {contender: _time(multiply) for contender, multiply in products.items()}
    for _ in range(_ROUNDS - 1):  # in turns, so that a busy moment slows all of them
        for contender, multiply in products.items():
            if seconds[contender] < _HOPELESS * min(seconds.values()):
                seconds[contender] = min(seconds[contender], _time(multiply))
    flops = 2.0 * _ROWS * inputs * outputs
    return ProductRates({one: flops / seconds[one] if one in seconds else 0.0 for one in CONTENDERS})


def _prepare(library: Library, dtype: torch.dtype, states: Tensor, weight: Tensor) -> Callable[[], Tensor] | None:
    """Return a product without arguments, or None where it cannot run."""
    if library == "torch":
        left, right = states.to(dtype), weight.to(dtype)
        return lambda: functional.linear(left, right)
    if onednn.obstacle(states.device, torch.float32):
        return None
    try:
        if dtype == torch.int8:
            scales = weight.abs().amax(dim=1) / 127
            codes = onednn.pack_int8((weight / scales[:, None]).round().to(torch.int8))
            return lambda: onednn.multiply_int8(states, codes, scales)
        left, packed = states.to(dtype), onednn.pack(weight.to(dtype))
        return lambda: onednn.multiply(left, packed)
    except Exception as error:  # torch raises RuntimeError where the processor has no bfloat16
        logger.debug("oneDNN cannot multiply in %s here: %s", dtype, one_line(error))
        return None


def _is_right(library: Library, dtype: torch.dtype, multiply: Callable[[], Tensor], exact: Tensor) -> bool:
    """Whether the product is the exact one but for roundings. Sums of bytes overflow on CPUs without VNNI."""
    try:
        difference = float((multiply().float() - exact).abs().max() / exact.abs().max())
    except Exception as error:  # operators raise their own types
        logger.debug("%s cannot multiply in %s here: %s", library, dtype, one_line(error))
        return False
    if difference <= _BOUNDS[dtype]:
        return True
    logger.debug("%s multiplies wrongly in %s here: off by %.2g of the largest value", library, dtype, difference)
    return False


def _time(multiply: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    multiply()
    return time.perf_counter() - started
