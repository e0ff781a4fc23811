"""Check the engine on a GPU, in one call: kernels, dtypes, the 8B shape, batch independence, memory, several GPUs.

    python tools/gpu_check.py --out gpu-check.json                 # on the GPU, everything
    python tools/gpu_check.py --device cpu --out cpu-check.json    # the same code on a CPU, small shapes only

All scores that are compared come from `scorer` or `card_scores`, in the order of the documents.
Prints one line a check, writes all figures as JSON, and exits with 1 if a check failed. Weights are random. Speed is
not measured here: `qwen3-rerank bench` does that.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins._records import make_record, note_circumstances, write_record
from qwen3_rerank_plugins.bench.stopwatch import measure
from qwen3_rerank_plugins.bench.subject import write_random_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.loading.budget import choose_budget
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel, load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_device
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape
from qwen3_rerank_plugins.engine.model.attention import Attention, choose_attention
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, Workload, plan_batches
from qwen3_rerank_plugins.engine.scheduling.scheduler import LoadedEngine, Scheduler
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder, TokenizedRequest

SMALL = Shape(
    hidden=512, layers=4, heads=8, key_value_heads=2, head_dim=128, intermediate=1024, vocabulary=9_216, tied=False
)
TINY = Shape(
    hidden=128, layers=2, heads=4, key_value_heads=2, head_dim=32, intermediate=256, vocabulary=9_216, tied=False
)
LAYOUTS: dict[str, list[tuple[int, list[int]]]] = {
    "one prefix, short tails": [(80, [20, 33, 47, 5])],
    "tails of one token": [(80, [1, 1, 2]), (3, [1])],
    "several prefixes": [(80, [100, 60]), (17, [300]), (200, [9, 9, 9])],
    "many tails": [(90, [60 + 7 * (n % 11) for n in range(100)])],
    "long beside short": [(90, [1_400, 1, 64]), (12, [3])],
    "a long tail": [(90, [8_000])],
}
ON_A_CPU = [name for name in LAYOUTS if name != "a long tail"]


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        value: what was found, in the unit that `limit` has.
        limit: the most that passes; None for a mere figure.
    """

    name: str
    value: float
    limit: float | None = None

    @property
    def passed(self) -> bool:
        """Within its limit, or without one."""
        return self.limit is None or self.value <= self.limit


def main() -> None:
    """Run everything that the device allows."""
    parser = argparse.ArgumentParser(description="Check kernels, dtypes and memory on this device.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", default="8b", choices=["0.6b", "4b", "8b"], help="of the large model, on CUDA only")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    device, _ = choose_device(options.device)
    checks: list[Check] = []

    def note(*found: Check) -> None:
        checks.extend(found)
        for check in found:
            limit = "" if check.limit is None else f"  (limit {check.limit:g})"
            print(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.value:.4g}{limit}", flush=True)

    around = note_circumstances(f"random weights, small and {options.shape}", device, torch.bfloat16)
    dtypes = (torch.bfloat16, torch.float16) if device.type == "cuda" else (torch.float32, torch.bfloat16)
    for dtype in dtypes:
        with loaded_model(TINY if device.type == "cpu" else SMALL, device, dtype) as (loaded, encoder):
            note(*check_kernels(loaded, encoder, dtype, ON_A_CPU if device.type == "cpu" else list(LAYOUTS)))
            note(*check_independence(loaded, encoder, dtype))
    if device.type == "cpu" or torch.cuda.device_count() > 1:
        for dtype in (torch.float32, torch.bfloat16):
            note(*check_several(device, dtype))
    if device.type == "cuda":
        for dtype in dtypes:
            with loaded_model(PUBLISHED[f"Qwen/Qwen3-Reranker-{options.shape.upper()}"], device, dtype) as (
                large,
                encoder,
            ):
                note(*check_large(large, encoder, dtype))
    write_record(options.out, make_record("gpu-check", around, {"checks": checks}))
    sys.exit(0 if all(check.passed for check in checks) else 1)


@contextmanager
def loaded_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[LoadedModel, PromptEncoder]]:
    """A random model of a shape, loaded by the engine's own code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_checkpoint(folder, shape, dtype, DEMO_FOLDER)
        word: Any = str(dtype).removeprefix("torch.")
        settings = EngineSettings(model=str(folder), device=str(device), dtype=word)
        loaded = load_model(settings, find_checkpoint(settings))
        yield loaded, PromptEncoder(folder / "tokenizer.json")
        del loaded
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def random_requests(layout: Sequence[tuple[int, Sequence[int]]], seed: int = 0) -> list[TokenizedRequest]:
    """Requests of given lengths; which ids they hold does not matter."""
    dice = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 9_000, (length,), generator=dice).tolist())

    return [
        TokenizedRequest(ids(prefix), tuple(map(ids, tails)), tuple(range(len(tails))), (0,) * len(tails))
        for prefix, tails in layout
    ]


Score = Callable[[Sequence[TokenizedRequest]], torch.Tensor]


def scorer(loaded: LoadedModel, encoder: PromptEncoder, attend: Attention) -> Score:
    """Requests -> the log-odds of all tails, request by request and in the order of each request, from one pass."""
    model = PackedModel(loaded.causal_lm.model, attend, rows_at_once=loaded.placement.rows_at_once)
    run = ModelRunner(model, YesNoHead(loaded.causal_lm, encoder.yes_id, encoder.no_id), loaded.placement.device)

    def score(requests: Sequence[TokenizedRequest]) -> torch.Tensor:
        lengths = [Workload(len(r.prefix), tuple(map(len, r.document_ids))) for r in requests]
        (plan,) = plan_batches(lengths, sum(one.prefix + sum(one.document_lengths) for one in lengths))
        return in_document_order(requests, plan, run(requests, plan))

    return score


def in_document_order(requests: Sequence[TokenizedRequest], plan: BatchPlan, log_odds: Sequence[float]) -> torch.Tensor:
    """Log-odds in the order of a plan, which sorts tails by length -> in the order in which they were asked for."""
    places = [(part.request, tail) for part in plan.slices for tail in part.documents]
    found = dict(zip(places, log_odds, strict=True))
    return torch.tensor(
        [found[number, tail] for number, one in enumerate(requests) for tail in range(len(one.document_ids))]
    )


@torch.inference_mode()
def card_scores(causal_lm: Any, encoder: PromptEncoder, requests: Sequence[TokenizedRequest]) -> torch.Tensor:
    """The slow twin: every prompt alone through the stock forward pass, in the model's own dtype."""
    device = next(causal_lm.parameters()).device
    found = []
    for request in requests:
        for tail in request.document_ids:
            logits = causal_lm(torch.tensor([[*request.prefix, *tail]], device=device), logits_to_keep=1).logits[0, -1]
            found.append((logits[encoder.yes_id].float() - logits[encoder.no_id].float()).item())
    return torch.tensor(found)


def check_kernels(
    loaded: LoadedModel, encoder: PromptEncoder, dtype: torch.dtype, layouts: Sequence[str]
) -> list[Check]:
    """The chosen kernel against SDPA, and both against the stock path in float32; layouts of every kind."""
    name = str(dtype).removeprefix("torch.")
    device = loaded.placement.device
    choice = choose_attention("auto", device, dtype)
    chosen, plain = scorer(loaded, encoder, choice.attend), scorer(loaded, encoder, sdpa_attention)
    exact_model = type(loaded.causal_lm)(loaded.causal_lm.config).to(device, torch.float32).eval()
    exact_model.load_state_dict({key: value.float() for key, value in loaded.causal_lm.state_dict().items()})
    checks = []
    ours, theirs = [], []
    for layout in layouts:
        requests = random_requests(LAYOUTS[layout])
        fast, slow = chosen(requests), plain(requests)
        exact = card_scores(exact_model, encoder, requests)
        ours.append(fast - exact)
        theirs.append(card_scores(loaded.causal_lm, encoder, requests) - exact)
        difference = float((fast - slow).abs().max())
        checks += [
            Check(f"{name}, {layout}: {choice.name} against sdpa, largest difference", difference),
            Check(f"{name}, {layout}: card path against float32, RMS", root_mean_square(theirs[-1])),
            Check(f"{name}, {layout}: {choice.name} against float32, RMS", root_mean_square(ours[-1])),
        ]
    # the verdict is over all documents: a layout of four says little about an error that is random
    limit = max(1e-3, 1.1 * root_mean_square(torch.cat(theirs)))
    checks.append(Check(f"{name}: against float32, all documents, RMS", root_mean_square(torch.cat(ours)), limit))
    return checks


def root_mean_square(errors: torch.Tensor) -> float:
    """Of all entries."""
    return float(errors.square().mean().sqrt())


def check_independence(loaded: LoadedModel, encoder: PromptEncoder, dtype: torch.dtype) -> list[Check]:
    """How far a document's score moves with what else is in its pass; in 16 bits both scores are rounded."""
    score = scorer(loaded, encoder, choose_attention("auto", loaded.placement.device, dtype).attend)
    (crowd,) = random_requests(LAYOUTS["many tails"])
    together = score([crowd])
    alone = torch.cat(
        [
            score([dataclasses.replace(crowd, document_ids=(tail,), inverse_index=(0,), truncated_tokens=(0,))])
            for tail in crowd.document_ids
        ]
    )
    name = str(dtype).removeprefix("torch.")
    largest = float((together - alone).abs().max())
    limit = 1e-3 if dtype == torch.float32 else 0.1 * float(together.max() - together.min())
    return [Check(f"{name}: a score alone against in company, largest difference", largest, limit)]


def check_several(device: torch.device, dtype: torch.dtype) -> list[Check]:
    """A replica on each GPU, and one model spread over all, against one GPU; on a CPU, two replicas of it."""
    name: Any = str(dtype).removeprefix("torch.")
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if device.type == "cuda" else []
    texts = [f"Report {number}: " + "the river rose again in spring. " * (10 + number % 7) for number in range(40)]
    found: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder), TINY if device.type == "cpu" else SMALL, dtype, DEMO_FOLDER)
        each: list[dict[str, Any]] = [{"device": str(device)}, {"devices": gpus or ["cpu"] * 2}, {"device_map": "auto"}]
        for where in each:
            with Qwen3Reranker(folder, dtype=name, max_length=2048, **where) as reranker:
                reranker.warmup()
                ranked = reranker.rank("When did the river rise?", texts)
            found.append([one.logit for one in sorted(ranked, key=lambda one: one.index)])
    limit = 1e-3 if dtype == torch.float32 else None
    return [
        Check(
            f"{name}: {what} against one device, largest difference",
            max(abs(one - other) for one, other in zip(found[0], several, strict=True)),
            limit,
        )
        for what, several in zip(("replicas", "a spread model"), found[1:], strict=True)
    ]


def check_large(loaded: LoadedModel, encoder: PromptEncoder, dtype: torch.dtype) -> list[Check]:
    """The large shape: against the stock path, its memory against the prediction, and out of memory survived."""
    name, device = str(dtype).removeprefix("torch."), loaded.placement.device
    choice = choose_attention("auto", device, dtype)
    requests = random_requests(LAYOUTS["several prefixes"])
    stock = card_scores(loaded.causal_lm, encoder, requests)
    score = scorer(loaded, encoder, choice.attend)
    checks = [
        Check(
            f"{name}, large: {choice.name} against the card path, largest difference",
            float((score(requests) - stock).abs().max()),
        )
    ]
    shape = Shape.from_config(loaded.causal_lm.config.to_dict())
    budget = choose_budget("auto", loaded)
    tails = [400] * ((budget - 90) // 400)
    grown = measure(lambda: score(random_requests([(90, tails)])), device).peak_growth or 0
    weights = sum(parameter.nbytes for parameter in loaded.causal_lm.model.parameters())
    needed = weights + grown
    tokens = 90 + sum(tails)
    predicted = (
        shape.weight_bytes(dtype)
        - shape.output_matrix_bytes(dtype)
        + shape.batch_bytes(tokens, dtype, loaded.placement.rows_at_once)
    )
    gibibyte = 2**30
    checks += [
        Check(f"{name}, large: weights, GiB", weights / gibibyte),
        Check(f"{name}, large: a pass of {tokens} tokens grows by, GiB", grown / gibibyte, 3.0),
        Check(f"{name}, large: prediction off by, share", abs(predicted / needed - 1), 0.15),
    ]
    return [*checks, *check_out_of_memory(loaded, encoder, budget)]


def check_out_of_memory(loaded: LoadedModel, encoder: PromptEncoder, budget: int) -> list[Check]:
    """A pass that cannot fit, through the worker: it has to be cut until it does, and give the same scores."""
    placement = loaded.placement
    model = PackedModel(loaded.causal_lm.model, placement.attention.attend, rows_at_once=placement.rows_at_once)
    run = ModelRunner(model, YesNoHead(loaded.causal_lm, encoder.yes_id, encoder.no_id), placement.device)
    (request,) = random_requests([(90, [400] * ((budget - 90) // 400))])
    passes: list[int] = []

    def counting(requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        passes.append(plan.document_count)
        return run(requests, plan)

    def through_worker() -> tuple[float, ...]:
        worker = Scheduler(lambda: LoadedEngine(counting, budget))
        try:
            return worker.submit(request, lambda tails, _: tails).result()
        finally:
            worker.close()

    expected = through_worker()
    roomy = len(passes)
    torch.cuda.empty_cache()
    device = placement.device
    hoard = torch.empty(max(0, torch.cuda.mem_get_info(device)[0] - 2**30), dtype=torch.uint8, device=device)
    found = through_worker()
    del hoard
    torch.cuda.empty_cache()
    difference = max(abs(a - b) for a, b in zip(expected, found, strict=True))
    return [
        Check("large: passes with room", roomy),
        Check("large: passes, failed ones included, with 1 GiB left", len(passes) - roomy),
        Check("large: log-odds with 1 GiB left against with room, largest difference", difference),
        Check("large: running out of memory was not provoked; 0 is good", 0.0 if len(passes) > 2 * roomy else 1.0, 0.0),
    ]


if __name__ == "__main__":
    main()
