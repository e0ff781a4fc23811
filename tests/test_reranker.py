"""The facade: what it validates, what it shares, what it survives."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import (
    ClosedError,
    InputTypeError,
    NonFiniteScoreError,
    RequestError,
    ScoringError,
    SettingsError,
)
from tests.doubles import OverlapScorer
from tests.optional import need

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "Gravity pulls bodies towards each other.",
    "The capital of China is Beijing.",
    "The capital of Japan is Tokyo.",
    "",
]


@pytest.fixture(scope="module")
def demo() -> Iterator[Qwen3Reranker]:
    with Qwen3Reranker("demo") as reranker:
        yield reranker


@pytest.fixture
def overlap() -> Qwen3Reranker:
    return Qwen3Reranker(scorer=OverlapScorer())


def test_the_relevant_document_comes_first_and_the_blank_one_last(demo: Qwen3Reranker) -> None:
    ranked = demo.rank(QUERY, DOCUMENTS)
    assert [ranked[0].index, ranked[-1].index] == [1, 3]
    assert ranked[0].text is DOCUMENTS[1]
    assert ranked[-1].score == 0.0


def test_score_gives_the_probabilities_of_rank_in_input_order(demo: Qwen3Reranker) -> None:
    pairs = [(QUERY, document) for document in DOCUMENTS] + [("gravity", DOCUMENTS[0]), (QUERY, DOCUMENTS[1])]
    scores = demo.score(pairs)
    ranked = {document.index: document.score for document in demo.rank(QUERY, DOCUMENTS)}
    assert scores[:4] == pytest.approx([ranked[index] for index in range(4)], abs=1e-6)
    assert scores[5] == pytest.approx(scores[1], abs=1e-6)
    assert demo.score([]) == []


def test_the_async_twins_give_the_same_answers(demo: Qwen3Reranker) -> None:
    async def both() -> tuple[Any, Any]:
        return await demo.arank(QUERY, DOCUMENTS), await demo.ascore([(QUERY, DOCUMENTS[1])])

    for _ in range(2):  # two loops in a row: nothing may be bound to the first
        ranked, scores = asyncio.run(both())
        assert ranked == demo.rank(QUERY, DOCUMENTS)
        assert scores == demo.score([(QUERY, DOCUMENTS[1])])


def test_thirty_two_threads_get_the_serial_scores(demo: Qwen3Reranker) -> None:
    queries = [f"{word} number {number}" for number in range(16) for word in ("capital", "gravity", "Tokyo", "")]
    serial = [demo.rank(query, DOCUMENTS) for query in queries]
    with ThreadPoolExecutor(32) as pool:
        threaded = list(pool.map(lambda query: demo.rank(query, DOCUMENTS), queries))
    for one, other in zip(serial, threaded, strict=True):
        assert [document.index for document in one] == [document.index for document in other]
        assert [d.logit for d in one[:3]] == pytest.approx([d.logit for d in other[:3]], abs=1e-4)


def test_twenty_coroutines_at_once_get_the_serial_scores(demo: Qwen3Reranker) -> None:
    async def gather() -> Any:
        return await asyncio.gather(*(demo.arank(f"query {number}", DOCUMENTS) for number in range(20)))

    for number, ranked in enumerate(asyncio.run(gather())):
        serial = demo.rank(f"query {number}", DOCUMENTS)
        assert [d.logit for d in ranked[:3]] == pytest.approx([d.logit for d in serial[:3]], abs=1e-4)


def test_the_loop_runs_on_while_a_long_text_is_ranked(demo: Qwen3Reranker) -> None:
    async def count_ticks() -> int:
        ranking = asyncio.ensure_future(demo.arank(QUERY, ["word " * 4000] * 3 + ["other " * 4000]))
        ticks = 0
        while not ranking.done():
            await asyncio.sleep(0.001)
            ticks += 1
        await ranking
        return ticks

    assert asyncio.run(count_ticks()) > 10


def test_a_cancelled_task_leaves_the_engine_usable(demo: Qwen3Reranker) -> None:
    async def cancel() -> None:
        task = asyncio.ensure_future(demo.arank(QUERY, ["word " * 4000]))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert demo.rank(QUERY, DOCUMENTS)[0].index == 1


def test_one_bad_request_leaves_the_engine_usable(demo: Qwen3Reranker) -> None:
    with pytest.raises(RequestError, match="no document token would fit"):
        demo.rank("word " * 20_000, DOCUMENTS)
    assert demo.rank(QUERY, DOCUMENTS)[0].index == 1


def test_a_truncated_document_says_how_much_was_cut() -> None:
    with Qwen3Reranker("demo", max_length=150) as reranker:
        whole, cut = (reranker.rank(QUERY, [text])[0] for text in ("short", "word " * 500))
    assert whole.truncated_tokens == 0
    assert 380 < cut.truncated_tokens < 500
    assert len(cut.text) == 2500


def test_identical_documents_are_scored_once_and_each_returned(demo: Qwen3Reranker) -> None:
    ranked = demo.rank(QUERY, [DOCUMENTS[1]] * 3)
    assert [document.index for document in ranked] == [0, 1, 2]
    assert len({document.logit for document in ranked}) == 1


def test_no_documents_or_only_blank_ones_load_nothing() -> None:
    reranker = Qwen3Reranker("/no/such/model/anywhere")
    assert reranker.rank("q", []) == []
    assert [document.score for document in reranker.rank("q", ["", " "])] == [0.0, 0.0]
    assert asyncio.run(reranker.arank("q", [])) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=8), st.text(max_size=30), st.sampled_from([None, 0, 1, 3, 50]))
def test_any_text_is_ranked_and_the_callers_list_is_left_alone(
    documents: list[str], query: str, top_n: int | None
) -> None:
    reranker = Qwen3Reranker("demo")
    before = list(documents)
    ranked = reranker.rank(query, documents, top_n=top_n)
    assert documents == before
    assert len(ranked) == (len(documents) if top_n is None else min(top_n, len(documents)))
    assert all(documents[document.index] is document.text for document in ranked)
    assert all(0 <= document.score <= 1 for document in ranked)


def test_options_of_a_call_come_before_those_of_the_reranker() -> None:
    scorer = OverlapScorer()
    reranker = Qwen3Reranker(scorer=scorer, instruction="mine", top_n=1, min_score=0.9)
    documents = ["a b c", "a b", "a"]
    assert [document.index for document in reranker.rank("a b c d", documents, top_n=3, min_score=0.0)] == [0, 1, 2]
    assert [document.index for document in reranker.rank("a b c d", documents, min_score=0.0)] == [0]
    assert reranker.rank("x", documents) == []
    reranker.rank("x", documents, instruction="theirs")
    assert [request.instruction for request in scorer.requests] == ["mine"] * 3 + ["theirs"]


@pytest.mark.parametrize("way", ["rank", "arank"])
def test_none_in_a_call_lifts_the_rerankers_own_option(way: str) -> None:
    scorer = OverlapScorer()
    reranker = Qwen3Reranker(scorer=scorer, instruction="mine", top_n=1, min_score=0.9)
    rank = partial(getattr(reranker, way), "a b c d", ["a b c", "a b", "e"])
    assert [document.index for document in _finished(rank(min_score=None))] == [0]
    assert [document.index for document in _finished(rank(top_n=None, min_score=None))] == [0, 1, 2]
    assert _finished(rank(instruction=None)) == []
    assert [request.instruction for request in scorer.requests] == ["mine", "mine", DEFAULT_INSTRUCTION]


@pytest.mark.parametrize("way", ["score", "ascore"])
def test_pairs_are_scored_under_the_instruction_of_the_call_or_the_rerankers_own(way: str) -> None:
    scorer = OverlapScorer()
    score = partial(getattr(Qwen3Reranker(scorer=scorer, instruction="mine"), way), [("a", "b")])
    for options in ({}, {"instruction": "theirs"}, {"instruction": None}):
        _finished(score(**options))
    assert [request.instruction for request in scorer.requests] == ["mine", "theirs", DEFAULT_INSTRUCTION]


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_n": -1},
        {"top_n": 1.5},
        {"top_n": True},
        {"min_score": 1.1},
        {"min_score": "0.5"},
        {"max_length": 59},
        {"max_length": 0},
    ],
    ids=str,
)
def test_a_malformed_option_is_refused_at_construction_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Qwen3Reranker("demo", **wrong)


@pytest.mark.parametrize("wrong", [{"top_n": -1}, {"min_score": 2}], ids=str)
def test_a_malformed_option_of_a_call_is_refused(overlap: Qwen3Reranker, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        overlap.rank("q", ["d"], **wrong)
    with pytest.raises(SettingsError):
        asyncio.run(overlap.arank("q", ["d"], **wrong))


def test_an_instruction_that_is_not_text_is_refused_at_construction() -> None:
    with pytest.raises(InputTypeError, match="instruction"):
        Qwen3Reranker("demo", instruction=3)  # type: ignore[arg-type]


def test_a_max_length_beyond_the_models_positions_is_refused_with_the_number() -> None:
    with (
        Qwen3Reranker("demo", max_length=10_000_000) as reranker,
        pytest.raises(RequestError, match=r"10000000 is more than the \d+ positions"),
    ):
        reranker.rank("q", ["d"])


@pytest.mark.parametrize("pair", ["ab", ("a",), ("a", "b", "c"), ("a", None), (None, "b"), 3])
def test_a_malformed_pair_is_refused_with_its_position(overlap: Qwen3Reranker, pair: Any) -> None:
    with pytest.raises(InputTypeError, match=r"pairs\[1\]"):
        overlap.score([("a", "b"), pair])


@pytest.mark.parametrize("ways", ["rank", "score", "arank", "ascore"])
def test_a_broken_score_is_never_returned_in_any_way(ways: str) -> None:
    class Broken(OverlapScorer):
        def submit(self, request: Any) -> Any:
            future = super().submit(request)
            future._result = Scores((float("nan"),), (0,))
            return future

    reranker = Qwen3Reranker(scorer=Broken())
    arguments: Any = [("q", "d")] if "score" in ways else ("q", ["d"])
    call = getattr(reranker, ways)
    with pytest.raises(NonFiniteScoreError):
        _finished(call(arguments) if "score" in ways else call(*arguments))


def _finished(found: Any) -> Any:
    return asyncio.run(found) if asyncio.iscoroutine(found) else found


def test_an_error_of_the_engine_reaches_the_caller() -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer(ScoringError("as it is")))
    with pytest.raises(ScoringError, match="as it is"):
        reranker.rank("q", ["d"])


def test_rerankers_with_equal_settings_share_one_engine_until_the_last_is_closed() -> None:
    close_all()
    one, other = Qwen3Reranker("demo", instruction="a", top_n=1), Qwen3Reranker("demo", instruction="b")
    assert one._scorer() is other._scorer()
    assert one._scorer() is not Qwen3Reranker("demo", max_batch_tokens=777)._scorer()
    one.close()
    assert other.rank(QUERY, DOCUMENTS)
    other.close()
    assert one.settings.cache_key not in registry._entries
    with Qwen3Reranker("demo") as again:
        assert again.rank(QUERY, DOCUMENTS)


def test_a_closed_reranker_says_so_and_closes_again_quietly() -> None:
    reranker = Qwen3Reranker("demo")
    reranker.close()
    reranker.close()
    with pytest.raises(ClosedError, match="Make a new one"):
        reranker.rank("q", ["d"])


def test_an_engine_of_your_own_is_not_closed_for_you() -> None:
    scorer = OverlapScorer()
    Qwen3Reranker(scorer=scorer).close()
    assert not scorer.closed


def test_warmup_loads_the_model_once(demo: Qwen3Reranker) -> None:
    demo.warmup()
    assert demo._scorer()._schedulers[0].loaded  # type: ignore[attr-defined]


def test_copies_share_the_engine(demo: Qwen3Reranker) -> None:
    assert copy.copy(demo) is demo
    assert copy.deepcopy({"reranker": demo})["reranker"] is demo


def test_a_pickle_holds_settings_and_no_token_and_works_elsewhere() -> None:
    pickled = pickle.dumps(Qwen3Reranker("demo", token="hf_secret", top_n=2, instruction="find"))
    assert b"hf_secret" not in pickled
    assert len(pickled) < 2000
    restored = pickle.loads(pickled)
    assert (restored.top_n, restored.instruction, restored.settings.token) == (2, "find", None)
    assert restored.rank(QUERY, DOCUMENTS)[0].index == 1


def test_a_spawned_process_can_use_a_pickled_reranker() -> None:
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        ranked = pool.apply(Qwen3Reranker("demo").rank, (QUERY, DOCUMENTS))
    assert ranked[0].index == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_ranks_with_an_inherited_reranker(demo: Qwen3Reranker) -> None:
    demo.rank(QUERY, DOCUMENTS)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        threading.Timer(120, os._exit, [1]).start()  # a hang would be the child's for ever
        try:
            os.write(writing, b"index %d" % demo.rank(QUERY, DOCUMENTS)[0].index)
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 1000) == b"index 1"
    os.close(reading)
    assert demo.rank(QUERY, DOCUMENTS)[0].index == 1


def test_the_interpreter_exits_with_a_live_engine() -> None:
    program = (
        f"from qwen3_rerank_plugins import Qwen3Reranker; print(len(Qwen3Reranker('demo').rank('q', {DOCUMENTS!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "4")


def test_the_repr_is_short_and_discreet() -> None:
    shown = repr(Qwen3Reranker("demo", token="hf_secret"))
    assert shown == "Qwen3Reranker('demo', device='auto', dtype='auto')"


def test_closing_everything_while_others_rank_loses_no_answer() -> None:
    reranker = Qwen3Reranker("demo")
    reranker.rank(QUERY, DOCUMENTS)
    answers: list[Any] = []

    def work() -> None:
        for _ in range(20):
            try:
                answers.append(reranker.rank(QUERY, DOCUMENTS)[0].index)
            except ClosedError:
                answers.append("closed")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    close_all()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 80
    assert set(answers) <= {1, "closed"}


def test_documents_and_pairs_may_be_mappings_with_their_text() -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer())
    mixed = ["red", {"text": "red green", "title": "ignored"}, {"page_content": "", "text": "red green"}]
    expected = reranker.rank("red green", ["red", "red green", ""])
    assert reranker.rank("red green", mixed) == asyncio.run(reranker.arank("red green", mixed)) == expected
    pairs = [("red", one) for one in mixed]
    assert (
        reranker.score(pairs)
        == asyncio.run(reranker.ascore(pairs))
        == reranker.score(np.array([["red", "red"], ["red", "red green"], ["red", ""]]))
    )


class Page:
    """As documents of frameworks are."""

    page_content = "red"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"body": "red"}, 'neither "page_content" nor "text"'),
        ({"text": None}, "must be a string, got None"),
        (b"red", "got bytes. Decode it"),
        (None, "got None"),
        (["red"], "got list"),
        (float("nan"), "got float"),
        (Page(), r"got Page. Pass its text, document.page_content"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_document_without_text_is_refused_by_position(document: Any, message: str) -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer())
    for call in (
        lambda: reranker.rank("q", ["red", document]),
        lambda: asyncio.run(reranker.arank("q", ["red", document])),
    ):
        with pytest.raises(InputTypeError, match=rf"documents\[1\].*{message}"):
            call()
    for call in (
        lambda: reranker.score([("q", "red"), ("q", document)]),
        lambda: asyncio.run(reranker.ascore([("q", "red"), ("q", document)])),
    ):
        with pytest.raises(InputTypeError, match=r"pairs\[1\]"):
            call()


@pytest.mark.parametrize("documents", ["red", b"red", {"text": "red"}, {"a": "red"}, None, 3], ids=repr)
def test_what_is_no_list_of_documents_or_pairs_is_refused(documents: Any) -> None:
    reranker = Qwen3Reranker(scorer=OverlapScorer())
    with pytest.raises(RequestError, match="documents must be"):
        reranker.rank("q", documents)
    with pytest.raises(RequestError, match=r"pairs must be a list .*Pass \[\(query, document\)\]"):
        reranker.score(documents)
    with pytest.raises(RequestError, match=r"pairs\[0\] must be"):
        reranker.score(("q", "d"))


def test_an_adapter_reaches_a_loaded_model_through_few_files_and_few_nested_calls(demo: Qwen3Reranker) -> None:
    """Calls of this package in the calling thread, from the making of an adapter to its answer."""
    need("langchain_core")
    from langchain_core.documents import Document

    from qwen3_rerank_plugins.langchain import Qwen3Rerank

    documents = [Document(page_content=text) for text in DOCUMENTS[:3]]
    demo.rank(QUERY, DOCUMENTS)
    depth, depths, files = 0, [0], set[str]()

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal depth
        if "/qwen3_rerank_plugins/" in frame.f_code.co_filename and event in ("call", "return"):
            depth += 1 if event == "call" else -1
            depths.append(depth)
            files.add(frame.f_code.co_filename)

    def rerank() -> list[Document]:
        return Qwen3Rerank(model="demo", device="cpu").compress_documents(documents, QUERY)

    rerank()
    sys.setprofile(count)
    try:
        rerank()
    finally:
        sys.setprofile(None)
    assert max(depths) <= 16
    assert len(files) <= 36
    assert len(depths) // 2 <= 420, "calls"
