"""Numbers that lie and memory that runs out, in the real engine: a clear error or the right score."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import qwen3_rerank_plugins
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.model.batch import PackedBatch
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scheduling.adaptive_budget import SHORTEST_PATIENCE
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import DeviceMemoryError, NonFiniteScoreError
from tests.checkpoints import GROUPED, make_checkpoint
from tests.doubles import OverlapScorer
from tests.references import CardReference

CORPUS_FILE = Path(qwen3_rerank_plugins.__file__).parent / "data" / "corpus.jsonl"
QUERY = "What is the capital of China?"
YES, NO = 9693, 2152
TEXTS = [json.loads(line)["text"] for line in CORPUS_FILE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def overflowing(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights so strong that with some texts, not all, an activation passes 65,504, where float16 ends."""
    for strength in range(65, 90):
        folder = make_checkpoint(tmp_path_factory.mktemp("overflowing"), torch.float16, seed=2, **GROUPED)
        weights = load_file(folder / "model.safetensors")
        for name, matrix in weights.items():
            if "layers.1.mlp" in name and "down" not in name:
                matrix.mul_(strength)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        if broken_positions(folder):
            return folder
    raise AssertionError("nothing overflowed")


def broken_positions(folder: Path) -> tuple[int, ...]:
    with Qwen3Reranker(str(folder), dtype="float16") as reranker:
        try:
            reranker.rank(QUERY, TEXTS)
        except NonFiniteScoreError as error:
            return error.documents
    return ()


def test_float16_overflow_is_an_error_that_names_documents_and_remedies(overflowing: Path) -> None:
    broken = broken_positions(overflowing)
    assert 0 < len(broken) < len(TEXTS), "the fixture should overflow for some"
    with (
        Qwen3Reranker(str(overflowing), dtype="float16") as reranker,
        pytest.raises(NonFiniteScoreError, match="dtype='bfloat16' or dtype='float32', or .*on_nonfinite='float32'"),
    ):
        reranker.score([(QUERY, text) for text in TEXTS])


def test_just_the_scores_that_overflowed_are_computed_again_in_float32(
    overflowing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = broken_positions(overflowing)
    exact = CardReference(overflowing).log_odds([(QUERY, text) for text in TEXTS])
    with Qwen3Reranker(str(overflowing), dtype="float16", on_nonfinite="float32") as reranker:
        caplog.clear()
        ranked = reranker.rank(QUERY, TEXTS)
        probabilities = reranker.score([(QUERY, text) for text in TEXTS])
    assert sorted(found.index for found in ranked if found.rescored) == list(broken)
    for found in ranked:
        if found.rescored:
            assert found.logit == pytest.approx(exact[found.index], abs=1e-3, rel=1e-5)
        assert probabilities[found.index] == pytest.approx(found.score, abs=1e-3)
    assert [found.logit for found in ranked] == sorted((found.logit for found in ranked), reverse=True)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert (
        warnings
        == [f"{len(broken)} of {len(TEXTS)} scores overflowed in 16 bits and was computed again in float32."] * 2
    )


@pytest.mark.parametrize("on_nonfinite", ["error", "float32"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_planted_infinities_are_never_an_order(
    checkpoint: Callable[[str], Path], tmp_path: Path, dtype: str, on_nonfinite: str
) -> None:
    weights = load_file(checkpoint("grouped") / "model.safetensors")
    weights["model.layers.1.self_attn.o_proj.weight"][3, 5] = math.inf
    folder = make_checkpoint(tmp_path / "planted", **GROUPED)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    remedy = "weights are damaged"
    with (
        Qwen3Reranker(str(folder), dtype=dtype, on_nonfinite=on_nonfinite) as reranker,  # type: ignore[arg-type]
        pytest.raises(
            NonFiniteScoreError, match=rf"{len(TEXTS)} of {len(TEXTS)} documents \(positions 0, 1, .*{remedy}"
        ),
    ):
        reranker.rank(QUERY, TEXTS)


def test_quantised_layers_have_no_float32_to_go_back_to() -> None:
    with pytest.raises(ValueError, match="on_nonfinite='float32' needs unquantized weights"):
        Qwen3Reranker("demo", quantization="int8", on_nonfinite="float32")


def test_saturated_probabilities_keep_the_order_of_their_log_odds(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """A head that turns the log-odds far up: probabilities of exactly 1.0, and an order all the same."""
    folder = make_checkpoint(tmp_path / "loud", **{**GROUPED, "tie_word_embeddings": False})
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"].mul_(200)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with Qwen3Reranker(str(folder)) as reranker:
        ranked = reranker.rank(QUERY, TEXTS)
    saturated = [found for found in ranked if found.score == 1.0]
    assert len(saturated) > 3
    exact = CardReference(folder).log_odds([(QUERY, text) for text in TEXTS])
    assert [found.index for found in ranked] == sorted(range(len(TEXTS)), key=lambda index: -exact[index])


def test_bfloat16_keeps_an_order_that_a_bfloat16_head_loses(tmp_path: Path) -> None:
    """Two large logits rounded to bfloat16 before they are subtracted tie documents that ours tells apart."""
    folder = make_checkpoint(tmp_path / "large", **{**GROUPED, "tie_word_embeddings": False})
    weights = load_file(folder / "model.safetensors")
    yes, no = (weights["lm_head.weight"][token] for token in (YES, NO))
    common = 64 * no  # both logits grow to where bfloat16 counts in halves; their difference is what it was
    yes += common
    no += common
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with Qwen3Reranker(str(folder), dtype="bfloat16") as reranker:
        ours = [found.logit for found in reranker.rank(QUERY, TEXTS)]
    rounded = CardReference(folder, torch.bfloat16).log_odds([(QUERY, text) for text in TEXTS])
    assert len(set(ours)) == len(set(TEXTS)) > len(set(rounded)) + 3


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[int]]]:
    """A device that runs out of memory in passes above so many tokens; tells the sizes of all passes."""
    run = PackedModel.__call__
    sizes: list[int] = []

    def limit(tokens: int) -> list[int]:
        def limited(self: PackedModel, batch: PackedBatch) -> torch.Tensor:
            sizes.append(len(batch.input_ids))
            if sizes[-1] > tokens:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return run(self, batch)

        monkeypatch.setattr(PackedModel, "__call__", limited)
        return sizes

    return limit


def test_out_of_memory_halves_the_plan_and_every_document_gets_its_score(
    memory_for: Callable[[int], list[int]],
) -> None:
    with Qwen3Reranker("demo", max_batch_tokens=20_011) as reranker:
        undisturbed = reranker.rank(QUERY, TEXTS)
    sizes = memory_for(200)
    with Qwen3Reranker("demo", max_batch_tokens=20_012) as reranker:
        ranked = reranker.rank(QUERY, TEXTS)
        failed = list(itertools.takewhile(lambda size: size > 200, sizes))
        assert len(failed) > 1
        assert all(later <= earlier // 2 for earlier, later in zip(failed, failed[1:], strict=False))
        assert [found.index for found in ranked] == [found.index for found in undisturbed]
        assert [found.logit for found in ranked] == pytest.approx([found.logit for found in undisturbed], abs=1e-4)
        sizes.clear()
        reranker.rank(QUERY, TEXTS)
        tried = sum(size > 200 for size in sizes)
        assert tried <= 1 + len(sizes) // SHORTEST_PATIENCE, "the lowered budget is remembered, and seldom exceeded"


def test_a_document_that_can_never_fit_is_an_error_for_its_own_request_only(
    memory_for: Callable[[int], list[int]],
) -> None:
    memory_for(300)
    with Qwen3Reranker("demo", max_batch_tokens=20_013) as reranker:
        with pytest.raises(DeviceMemoryError, match=r"A batch of [\d,]+ tokens for 1 document .* Lower max_length"):
            reranker.rank(QUERY, ["short", "word " * 500])
        assert len(reranker.rank(QUERY, TEXTS)) == len(TEXTS)


_STARVED = """
import resource, sys
from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.errors import DeviceMemoryError

reranker = Qwen3Reranker(sys.argv[1], max_batch_tokens=100_000, max_length=32_768)
before = reranker.rank("a question", ["text"])[0].logit
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), -1))
try:
    reranker.rank("a question", ["word " * 20_000])
except DeviceMemoryError as error:
    assert "for 1 document ran out of device memory" in str(error), error
else:
    sys.exit("20,000 tokens fitted")
many = reranker.rank("a question", ["word " * 20 + str(number) for number in range(400)] + ["text"])
assert len(many) == 401
assert abs(next(found.logit for found in many if found.text == "text") - before) < 1e-4
print("served")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited for real on Linux only")
def test_a_machine_that_runs_out_of_memory_for_real_serves_on_in_smaller_passes(tmp_path: Path) -> None:
    from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER

    command = [sys.executable, "-c", _STARVED, str(DEMO_FOLDER), str(24 * 2**20)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "served\n", done.stderr[-2000:]


class Failing(OverlapScorer):
    """Fails each request with an error of its own, and remembers nothing."""

    def submit(self, _: RerankRequest) -> Future[Scores]:
        future: Future[Scores] = Future()
        future.set_exception(NonFiniteScoreError("broken", [0]))
        return future


@pytest.mark.parametrize("way", ["rank", "arank", "score", "ascore"])
def test_an_error_that_was_dealt_with_leaves_nothing_behind(way: str) -> None:
    """Errors hold frames, and frames what they worked on; no circle may keep a request until the next collection."""

    def ask() -> None:
        reranker = Qwen3Reranker("demo", scorer=Failing())
        asked: tuple[Any, ...] = (QUERY, TEXTS) if way.endswith("rank") else ([(QUERY, text) for text in TEXTS],)

        async def wait() -> None:
            with contextlib.suppress(NonFiniteScoreError):
                await getattr(reranker, way)(*asked)

        if way.startswith("a"):
            asyncio.run(wait())
        else:
            with contextlib.suppress(NonFiniteScoreError):
                getattr(reranker, way)(*asked)

    def requests() -> list[RerankRequest]:
        return [thing for thing in gc.get_objects() if type(thing) is RerankRequest]

    ask()  # whatever is imported on the way has its own circles
    gc.collect()
    gc.disable()
    try:
        earlier = set(map(id, kept := requests()))  # other tests keep some; while they are kept, no id comes again
        ask()
        assert [request for request in requests() if id(request) not in earlier] == []
        assert len(kept) == len(earlier)
    finally:
        gc.enable()
