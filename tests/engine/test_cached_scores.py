"""The score cache in front of a model: it gives the very scores that the model gave, and computes only what is new."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import ClosedError, ScoringError
from tests.checkpoint_kinds import make_adapter
from tests.optional import need

QUERY = "What is the capital of China?"
DOCUMENTS = ["The capital of China is Beijing.", "Bees make honey.", "", "Tokyo is a city. " * 40, "Bees make honey."]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many documents each request has queued."""
    counts: list[int] = []
    submit = LocalScorer._submit

    def counting(self: LocalScorer, request: TokenizedRequest, *args: Any, **options: Any) -> Any:
        counts.append(len(request.document_ids))
        return submit(self, request, *args, **options)

    monkeypatch.setattr(LocalScorer, "_submit", counting)
    return counts


@pytest.fixture(params=["memory", "file"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return "memory" if request.param == "memory" else tmp_path / "scores.db"


def facts(reranker: Qwen3Reranker, query: str = QUERY, documents: list[str] = DOCUMENTS, **options: Any) -> list[Any]:
    """Everything that a ranking says, in the order of the documents."""
    ranked = reranker.rank(query, documents, **options)
    return sorted((one.index, one.logit, one.score, one.truncated_tokens, one.span, one.rescored) for one in ranked)


def test_a_hit_is_the_very_score_that_was_computed(cache: str | Path, computed: list[int]) -> None:
    with Qwen3Reranker("demo", cache=cache) as reranker:
        first = facts(reranker)
        assert facts(reranker) == first
        assert reranker.score([(QUERY, DOCUMENTS[0])]) == [first[0][2]]
    assert computed == [3]  # one of five is blank, and two are equal


def test_a_call_says_what_was_known_and_the_engine_sums_it_up(cache: str | Path) -> None:
    with Qwen3Reranker("demo", cache=cache) as reranker:
        usages = [reranker.rank(QUERY, documents).usage for documents in (DOCUMENTS, DOCUMENTS, ["new", *DOCUMENTS])]
        assert [usage.cache_hits for usage in usages if usage] == [0, 4, 4]
        assert [usage.passes for usage in usages if usage] == [1, 0, 1]
        found = reranker.stats()
        assert (found.cache_hits, found.cache_misses, found.calls) == (8, 5, 3)
    with Qwen3Reranker("demo") as reranker:
        usage = reranker.rank(QUERY, DOCUMENTS).usage
        assert usage is not None
        assert usage.cache_hits == reranker.stats().cache_hits == reranker.stats().cache_misses == 0


def test_a_document_in_windows_is_a_hit_if_all_its_windows_are(cache: str | Path) -> None:
    text = " ".join(f"Sentence {number} is about bees." for number in range(60))
    with Qwen3Reranker("demo", cache=cache, max_length=150, long_documents="windows") as reranker:
        reranker.rank(QUERY, [text[: len(text) // 2]])
        usages = [reranker.rank(QUERY, [text]).usage for _ in range(2)]
    assert [usage.cache_hits for usage in usages if usage] == [0, 1]


def test_only_new_documents_are_computed(cache: str | Path, computed: list[int]) -> None:
    with Qwen3Reranker("demo", cache=cache) as reranker:
        first = facts(reranker)
        mixed = facts(reranker, documents=["A new one.", *DOCUMENTS, "And another."])
        assert [one[1] for one in mixed[1:-1]] == [one[1] for one in first]
    assert computed == [3, 2]


def test_another_process_finds_the_scores_and_never_loads_the_model(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Qwen3Reranker("demo", cache=tmp_path / "scores.db") as reranker:
        first = facts(reranker)
    monkeypatch.setattr(LocalScorer, "_load_alone", lambda *_: pytest.fail("loaded"))
    with Qwen3Reranker("demo", cache=tmp_path / "scores.db") as reranker:
        assert facts(reranker) == first
    assert computed == [3]


def test_another_prompt_or_cut_is_computed(cache: str | Path, computed: list[int]) -> None:
    document = ["The capital of China is Beijing. " * 20]
    with (
        Qwen3Reranker("demo", cache=cache) as reranker,
        Qwen3Reranker("demo", cache=cache, max_length=120) as shorter,
        Qwen3Reranker("demo", cache=cache, max_length=150, long_documents="windows") as windows,
    ):
        facts(reranker, documents=document)
        facts(reranker, documents=document, instruction="Find the opposite.")
        facts(reranker, "Another question?", documents=document)
        assert facts(shorter, documents=document)[0][3] > 0
        found = facts(windows, documents=document)
        assert found[0][4] is not None
        before = list(computed)
        assert facts(windows, documents=document) == found
        facts(reranker, documents=document, instruction="Find the opposite.")
    assert before[:4] == [1, 1, 1, 1]
    assert before[4] > 1
    assert computed == before


def test_other_weights_at_the_same_path_are_computed(tmp_path: Path, computed: list[int]) -> None:
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    with Qwen3Reranker(folder, cache=tmp_path / "scores.db") as reranker:
        before = facts(reranker)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with Qwen3Reranker(folder, cache=tmp_path / "scores.db") as reranker:
        after = facts(reranker)
    with Qwen3Reranker(folder) as reranker:
        assert facts(reranker) == after
    assert after != before
    assert computed == [3, 3, 3]


def test_the_same_weights_at_another_path_are_not_computed(tmp_path: Path, computed: list[int]) -> None:
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    with Qwen3Reranker("demo", cache=tmp_path / "scores.db") as demo:
        found = facts(demo)
    with Qwen3Reranker(folder, cache=tmp_path / "scores.db") as copy:
        assert facts(copy) == found
    assert computed == [3]


@pytest.mark.parametrize("other", [{"dtype": "bfloat16"}, {"kernels": "onednn"}, {"attention": "matmul"}])
def test_another_dtype_or_kernel_is_computed(other: dict[str, Any], tmp_path: Path, computed: list[int]) -> None:
    if other.get("kernels") == "onednn" and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    usual: dict[str, Any] = {"dtype": "float32", "kernels": "torch", "attention": "sdpa"}
    for settings in (usual, usual | other, usual):
        with Qwen3Reranker("demo", device="cpu", cache=tmp_path / "scores.db", **settings) as reranker:
            facts(reranker)
    assert computed == [3, 3]


def test_an_adapter_over_the_same_weights_is_computed(
    checkpoint: Callable[[str], Path], tmp_path: Path, computed: list[int]
) -> None:
    need("peft")
    make_adapter(checkpoint("grouped"), tmp_path / "adapter")
    for folder in (checkpoint("grouped"), tmp_path / "adapter", checkpoint("grouped")):
        with Qwen3Reranker(folder, dtype="float32", cache=tmp_path / "scores.db") as reranker:
            facts(reranker)
    assert computed == [3, 3]


def test_two_rerankers_with_equal_settings_share_the_cache_in_memory(computed: list[int]) -> None:
    with Qwen3Reranker("demo", cache="memory") as one, Qwen3Reranker("demo", cache="memory", top_n=1) as other:
        assert facts(one)[0][1] == other.rank(QUERY, DOCUMENTS)[0].logit
    assert computed == [3]


def test_several_devices_share_the_cache(tmp_path: Path, computed: list[int]) -> None:
    with Qwen3Reranker("demo", devices=["cpu", "cpu"], cache=tmp_path / "scores.db") as reranker:
        first = facts(reranker)
        assert facts(reranker) == first
    with Qwen3Reranker("demo", device="cpu", cache=tmp_path / "scores.db") as reranker:
        assert facts(reranker) == first
    assert computed == [3]


def test_a_score_that_is_not_finite_is_computed_again_each_time(tmp_path: Path, computed: list[int]) -> None:
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with Qwen3Reranker(folder, cache=tmp_path / "scores.db") as reranker:
        for _ in range(2):
            with pytest.raises(ScoringError):
                reranker.rank(QUERY, DOCUMENTS)
    assert computed == [3, 3]


def test_a_closed_engine_answers_from_no_cache(cache: str | Path) -> None:
    from qwen3_rerank_plugins.engine.request import make_request
    from qwen3_rerank_plugins.engine.settings import EngineSettings

    scorer = LocalScorer(EngineSettings(model="demo", cache=str(cache)))
    request = make_request(QUERY, DOCUMENTS, None)
    scorer.submit(request).result()
    scorer.close()
    with pytest.raises(ClosedError):
        scorer.submit(request)


def test_threads_and_coroutines_get_the_scores_of_the_model(cache: str | Path) -> None:
    with Qwen3Reranker("demo") as plain:
        expected = {query: facts(plain, query) for query in map(str, range(4))}
    wrong: list[object] = []
    with Qwen3Reranker("demo", cache=cache) as reranker:

        def check(query: str, logits: list[float]) -> None:
            wanted = [one[1] for one in expected[query]]
            wrong.extend(
                pair for pair in zip(logits, wanted, strict=True) if pair[0] != pytest.approx(pair[1], abs=1e-3)
            )

        async def coroutine(number: int) -> None:
            query = str(number % 4)
            ranked = await reranker.arank(query, DOCUMENTS)
            check(query, [one.logit for one in sorted(ranked, key=lambda one: one.index)])

        def thread(number: int) -> None:
            for step in range(6):
                query = str((number + step) % 4)
                check(query, [one[1] for one in facts(reranker, query)])

        async def all_coroutines() -> None:
            await asyncio.gather(*map(coroutine, range(16)))

        threads = [threading.Thread(target=thread, args=(number,)) for number in range(4)]
        for one in threads:
            one.start()
        asyncio.run(all_coroutines())
        for one in threads:
            one.join()
    assert wrong == []


def test_a_canceled_call_keeps_nothing_wrong(tmp_path: Path) -> None:
    with Qwen3Reranker("demo") as plain:
        expected = facts(plain)

    async def cancel(reranker: Qwen3Reranker) -> None:
        task = asyncio.ensure_future(reranker.arank(QUERY, DOCUMENTS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Qwen3Reranker("demo", cache=tmp_path / "scores.db") as reranker:
        asyncio.run(cancel(reranker))
        assert [one[1] for one in facts(reranker)] == pytest.approx([one[1] for one in expected], abs=1e-3)


def test_a_template_of_another_tokenizer_is_computed(tmp_path: Path, computed: list[int]) -> None:
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    with Qwen3Reranker(folder, cache=tmp_path / "scores.db") as reranker:
        facts(reranker)
    blueprint = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(blueprint, indent=1), encoding="utf-8")
    with Qwen3Reranker(folder, cache=tmp_path / "scores.db") as reranker:
        facts(reranker)
    assert computed == [3, 3]
