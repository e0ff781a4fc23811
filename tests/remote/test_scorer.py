"""The whole way behind the seam: every dialect, every fault, many callers; and the local engine's own scores."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.errors import (
    ClosedError,
    NonFiniteScoreError,
    RemoteAnswerError,
    RemoteRefusedError,
    RemoteUnreachableError,
    RequestError,
)
from qwen3_rerank_plugins.remote import RemoteScorer, RemoteSettings, server
from qwen3_rerank_plugins.remote.protocols import PROTOCOLS
from tests.remote.app import RerankApp, closed_port, edited, serving, status, texts_of
from tests.remote.conftest import Connect, Serve
from tests.remote.demo_server import DemoServer

QUERY = "What is the capital of China?"
DOCUMENTS = [
    "Gravity pulls bodies towards each other.",
    "The capital of China is Beijing.",
    " ",
    "The capital of Japan is Tokyo.",
    "The capital of China is Beijing.",
    "中国的首都是北京。",
]


def log_odds(scorer: RemoteScorer, query: str = QUERY, documents: Any = DOCUMENTS, **options: Any) -> tuple[float, ...]:
    return scorer.submit(make_request(query, documents, None, **options)).result().log_odds


@pytest.fixture(scope="module")
def local() -> tuple[float, ...]:
    with Qwen3Reranker("demo", device="cpu", dtype="float32") as reranker:
        ranked = sorted(reranker.rank(QUERY, DOCUMENTS), key=lambda found: found.index)
        return tuple(found.logit for found in ranked)


@pytest.mark.parametrize("dialect", PROTOCOLS)
@pytest.mark.parametrize("template", ["server", "client"])
def test_a_servers_scores_are_the_local_engines_in_every_dialect_whoever_applies_the_template(
    dialect: str,
    template: str,
    connect: Connect,
    joining: DemoServer,
    templating: DemoServer,
    local: tuple[float, ...],
) -> None:
    app = RerankApp(dialect, templating if template == "server" else joining)
    scorer = connect(app, template=template, probe=True)
    assert log_odds(scorer) == pytest.approx(local, abs=1e-3)
    assert set(app.paths) == {f"/{PROTOCOLS[dialect].path}"}


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
@pytest.mark.parametrize("template", ["server", "client"])
def test_an_instruction_arrives_whoever_applies_the_template(
    dialect: str, template: str, connect: Connect, joining: DemoServer, templating: DemoServer
) -> None:
    instruction = "Given a claim, retrieve passages that refute it"
    app = RerankApp(dialect, templating if template == "server" else joining)
    found = connect(app, template=template).submit(make_request(QUERY, DOCUMENTS, instruction)).result()
    with Qwen3Reranker("demo", device="cpu", dtype="float32", instruction=instruction) as reranker:
        expected = sorted(reranker.rank(QUERY, DOCUMENTS), key=lambda document: document.index)
    assert found.log_odds == pytest.approx([document.logit for document in expected], abs=1e-3)


@pytest.mark.parametrize("dialect", ["tei", "infinity", "cohere"])
def test_an_instruction_that_cannot_be_sent_is_an_error_unless_it_is_the_default(
    dialect: str, connect: Connect
) -> None:
    scorer = connect(RerankApp(dialect), template="server")
    log_odds(scorer)
    with pytest.raises(RequestError, match=f"'{dialect}' has no field for an instruction. Apply .* template='client'"):
        scorer.submit(make_request(QUERY, DOCUMENTS, "something else")).result()
    connect(RerankApp(dialect), template="client").submit(make_request(QUERY, DOCUMENTS, "something else")).result()


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "tei", "infinity"])
def test_with_auto_the_server_is_asked_what_it_speaks(dialect: str, connect: Connect) -> None:
    app = RerankApp(dialect)
    assert log_odds(connect(app, protocol="auto"))[1] == pytest.approx(2.5, abs=1e-6)
    assert set(app.paths) == {f"/{PROTOCOLS[dialect].path}"}


@pytest.mark.parametrize(
    ("dialect", "scores", "sent"),
    [("vllm", "auto", -1.5), ("vllm", "probability", -1.5), ("cohere", "auto", -1.5), ("vllm", "logit", -1.5)],
)
def test_scores_mean_the_same_in_whatever_form_they_come(
    dialect: str, scores: str, sent: float, connect: Connect
) -> None:
    assert log_odds(connect(RerankApp(dialect), scores=scores), "nothing", ["shared"]) == pytest.approx((sent,))


def test_log_odds_of_a_server_that_cannot_be_asked_for_them_are_taken_as_said(connect: Connect) -> None:
    def to_log_odds(answer: Any) -> None:
        answer["results"][0]["relevance_score"] = -7.25

    app = RerankApp()
    app.always = edited(to_log_odds)
    assert log_odds(connect(app, scores="logit"), "q", ["d"]) == (-7.25,)
    with pytest.raises(RemoteAnswerError, match="say scores='logit'"):
        log_odds(connect(app), "q", ["d"])


def between_0_and_1(query: str, document: str, _: str | None) -> float:
    return len(document) / 100


def test_probabilities_that_come_instead_of_log_odds_are_told_once_without_a_probe(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = connect(RerankApp("vllm", between_0_and_1))
    for documents in (["a", "ab"], ["abc", "abcd"], ["a", "b"]):
        log_odds(scorer, "q", documents)
    (told,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert told.getMessage().startswith("All 4 scores that the server has sent so far are between 0 and 1.")
    assert "say scores='probability'" in told.getMessage()


@pytest.mark.parametrize("scores", [("vllm", "probability"), ("cohere", "auto"), ("vllm", "auto")], ids=str)
def test_nothing_is_told_where_the_scores_are_what_they_should_be(
    scores: tuple[str, str], connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = connect(RerankApp(scores[0]), scores=scores[1])
    for _ in range(3):
        log_odds(scorer, "a b c", ["a", "x", "a b c", "y"])
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_server_that_applies_no_activation_is_refused_without_a_probe(connect: Connect) -> None:
    app = RerankApp("cohere")
    app.always = edited(lambda answer: [result.update(relevance_score=2.5) for result in answer["results"]] and None)
    with pytest.raises(RemoteAnswerError, match="because it applies no activation, say scores='logit'"):
        log_odds(connect(app))


def test_blank_documents_are_not_sent_and_equal_ones_are_sent_once(connect: Connect) -> None:
    app = RerankApp()
    found = log_odds(connect(app))
    assert (found[2], found[1]) == (-math.inf, found[4])
    assert [len(texts) for texts in texts_of(app)] == [4]


def test_many_documents_go_in_several_requests_and_come_back_in_order(connect: Connect) -> None:
    documents = [" ".join(["word"] * (number % 3)) + f" {number}" for number in range(107)]
    app = RerankApp(score=lambda query, document, _: float(document.split()[-1]) / 10)
    scorer = connect(app, documents_per_request=10, scores="auto")
    assert log_odds(scorer, "q", documents) == pytest.approx([number / 10 for number in range(107)])
    assert sorted(len(texts) for texts in texts_of(app)) == [7, *[10] * 10]


def test_a_request_is_bounded_in_characters_too(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CHARACTERS_PER_REQUEST", 100)
    app = RerankApp()
    log_odds(connect(app), "q", ["a" * 60, "b" * 30, "c" * 20, "d" * 500, "e"])
    assert sorted(len(texts) for texts in texts_of(app)) == [1, 1, 1, 2]


def test_no_more_requests_than_allowed_are_under_way_at_once(connect: Connect) -> None:
    app = RerankApp(delay=0.02)
    log_odds(connect(app, documents_per_request=1, requests_at_once=3), "q", [str(number) for number in range(30)])
    assert app.most_at_once == 3


@pytest.mark.parametrize("wrong", [math.nan, None, math.inf])
def test_a_score_that_is_no_number_is_an_error_that_names_the_callers_documents(
    wrong: float | None, connect: Connect
) -> None:
    def spoil(answer: Any) -> None:
        for result in answer["data"]:
            if result["index"] == 1:
                result["score"] = wrong

    app = RerankApp("vllm")
    app.always = edited(spoil)
    with pytest.raises(
        NonFiniteScoreError, match=r"2 of 6 documents \(positions 1, 4\). Its model overflows"
    ) as caught:
        log_odds(connect(app))
    assert caught.value.documents == (1, 4)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda answer: answer["results"].pop(), "3 results for 4 documents"),
        (lambda answer: answer["results"].append(answer["results"][0]), "two results for document"),
        (lambda answer: answer["results"][0].update(index=17), "with an index other than those of the 4 documents"),
        (lambda answer: {"error": "no"}, "no list under 'results'"),
    ],
    ids=["one missing", "one doubled", "a strange index", "no results"],
)
def test_a_partial_or_malformed_answer_is_an_error_and_never_an_order(
    edit: Any, message: str, connect: Connect
) -> None:
    app = RerankApp()

    def change(answer: Any) -> Any:
        changed = edit(answer)
        return changed if isinstance(changed, dict) and "error" in changed else answer

    app.always = edited(change)
    with pytest.raises(RemoteAnswerError, match=message):
        log_odds(connect(app))


def test_one_failing_request_of_a_call_stops_what_has_not_been_sent(connect: Connect) -> None:
    app = RerankApp(delay=0.05)
    app.faults.append(status(400))
    scorer = connect(app, documents_per_request=1, requests_at_once=1)
    with pytest.raises(RemoteRefusedError):
        log_odds(scorer, "q", [str(number) for number in range(50)])
    time.sleep(0.3)
    assert len(app.bodies) <= 3


def test_one_callers_failure_is_nobody_elses(connect: Connect) -> None:
    app = RerankApp(delay=0.05)
    app.faults.append(status(400))
    scorer = connect(app)
    futures = [scorer.submit(make_request("q", [f"d {number}"], None)) for number in range(8)]
    errors = [future.exception() for future in futures]
    assert sum(error is not None for error in errors) == 1


def test_a_cancelled_future_hangs_up_and_sends_no_more(connect: Connect) -> None:
    app = RerankApp(delay=10.0)
    scorer = connect(app, documents_per_request=1, requests_at_once=2, timeout=60)
    future = scorer.submit(make_request("q", [str(number) for number in range(20)], None))
    until(lambda: len(app.bodies) == 2)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    until(lambda: app.hung_up == 2)
    assert len(app.bodies) == 2


def test_one_callers_change_of_mind_during_the_probe_is_not_the_others(
    connect: Connect, templating: DemoServer
) -> None:
    app = RerankApp("cohere", templating, delay=0.05)
    scorer = connect(app, probe=True)
    first, second = (scorer.submit(make_request(QUERY, DOCUMENTS, None)) for _ in range(2))
    until(lambda: bool(app.bodies))
    first.cancel()
    assert len(second.result().log_odds) == len(DOCUMENTS)


def until(happened: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_after_a_failed_connection_the_next_request_connects(connect: Connect) -> None:
    address = closed_port()
    scorer = connect(address, retries=0)
    with pytest.raises(RemoteUnreachableError):
        log_odds(scorer)
    with serving(RerankApp(), port=int(address.rpartition(":")[2])):
        assert log_odds(scorer)[1] == pytest.approx(2.5)


def test_closing_serves_whoever_waits_and_then_refuses(connect: Connect) -> None:
    app = RerankApp(delay=0.2)
    scorer = connect(app)
    future = scorer.submit(make_request(QUERY, DOCUMENTS, None))
    scorer.close()
    assert future.result(0).log_odds[1] == pytest.approx(2.5)
    with pytest.raises(ClosedError, match="closed meanwhile"):
        log_odds(scorer)
    scorer.close()


def test_one_that_was_never_asked_closes(connect: Connect) -> None:
    app = RerankApp()
    connect(app).close()
    assert app.paths == []


def test_a_forked_child_gets_a_clear_error_instead_of_a_hang(connect: Connect) -> None:
    scorer = connect(RerankApp())
    log_odds(scorer)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            scorer.submit(make_request("q", ["d"], None))
            os.write(writing, b"no error")
        except ClosedError as error:
            os.write(writing, str(error).encode())
        finally:
            scorer.close()
            os._exit(0)
    os.waitpid(child, 0)
    assert b"'spawn'" in os.read(reading, 1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 100}, "max_length=100 counts tokens"),
        ({"long_documents": "windows"}, "needs the model's tokenizer"),
        ({"on_nonfinite": "float32"}, "needs the model's weights"),
    ],
    ids=str,
)
def test_what_only_a_model_in_this_process_can_do_is_refused(
    options: dict[str, Any], message: str, connect: Connect
) -> None:
    with pytest.raises(RequestError, match=message):
        log_odds(connect(RerankApp()), **options)


def test_rerankers_with_equal_settings_share_one_connection_and_another_key_does_not(serve: Serve) -> None:
    url = serve(RerankApp())
    words: dict[str, Any] = {"remote": url, "template": "server", "protocol": "cohere", "probe": False}
    first, same = Qwen3Reranker("m", **words), Qwen3Reranker("m", **{**words, "remote": f"{url}/"})
    other = Qwen3Reranker("m", **words, api_key="k")
    assert first._scorer() is same._scorer()
    assert first._scorer() is not other._scorer()
    scorer = first._scorer()
    first.close()
    assert same.rank(QUERY, DOCUMENTS)[0].index == 1
    same.close()
    with pytest.raises(ClosedError):
        scorer.submit(make_request("q", ["d"], None))
    other.close()


def test_thirty_two_threads_get_the_scores_that_they_get_alone(connect: Connect) -> None:
    scorer = connect(RerankApp(), documents_per_request=2)
    reranker = Qwen3Reranker("m", scorer=scorer)
    questions = [(f"question {number}", [f"question {number} a", f"{number}", "b"]) for number in range(48)]

    def ask(question: tuple[str, list[str]]) -> list[tuple[int, float]]:
        return [(found.index, found.logit) for found in reranker.rank(*question)]

    alone = [ask(question) for question in questions]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, questions)) == alone


def test_twenty_coroutines_and_a_second_loop_get_the_scores_that_they_get_alone(connect: Connect) -> None:
    reranker = Qwen3Reranker("m", scorer=connect(RerankApp(delay=0.005)))

    async def together() -> list[Any]:
        return await asyncio.gather(*(reranker.arank(f"question {n}", [f"question {n}", "b"]) for n in range(20)))

    first, second = asyncio.run(together()), asyncio.run(together())
    assert first == second == [reranker.rank(f"question {n}", [f"question {n}", "b"]) for n in range(20)]


def test_pairs_of_several_queries_come_back_in_their_order(connect: Connect) -> None:
    reranker = Qwen3Reranker("m", scorer=connect(RerankApp("vllm")))
    pairs = [("a b", "a b"), ("c", "d"), ("a b", "a"), ("c", "c")]
    assert reranker.score(pairs) == pytest.approx([0.622, 0.182, 0.378, 0.378], abs=1e-3)


def test_everybody_who_waits_for_a_connection_that_fails_gets_an_error_of_their_own(connect: Connect) -> None:
    scorer = connect(closed_port(), probe=True)
    futures = [scorer.submit(make_request("q", ["d"], None)) for _ in range(3)]
    errors = [future.exception(30) for future in futures]
    assert {type(error) for error in errors} == {RemoteUnreachableError}
    assert len({str(error) for error in errors}) == 1
    assert len(set(map(id, errors))) == 3


def test_the_thread_is_the_only_one_and_ends_with_the_connection(connect: Connect) -> None:
    scorer = connect(RerankApp())
    for _ in range(3):
        log_odds(scorer)
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("qwen3-rerank-remote") == 1
    scorer.close()
    assert "qwen3-rerank-remote" not in {thread.name for thread in threading.enumerate()}


PROGRAM = """
import sys
from qwen3_rerank_plugins import Qwen3Reranker
reranker = Qwen3Reranker("m", remote=sys.argv[1], template="server", protocol="cohere", probe=False)
print(reranker.rank("capital of China", ["Tokyo", "the capital of China"])[0].index)
heavy = {"torch", "transformers", "sentence_transformers"} & set(sys.modules)
print(*heavy or ["light"])
if "close" in sys.argv:
    reranker.close()
"""


@pytest.mark.parametrize("ending", ["close", "leave open"])
def test_ranking_on_a_server_loads_no_torch_and_the_interpreter_ends_without_a_word(ending: str, serve: Serve) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, serve(RerankApp()), ending]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["1", "light"], "", 0)


def test_the_registry_frees_a_connection_with_everything_else(serve: Serve) -> None:
    reranker = Qwen3Reranker("m", remote=serve(RerankApp()), template="server", protocol="cohere", probe=False)
    reranker.rank(QUERY, DOCUMENTS)
    registry.close_all()
    assert reranker.rank(QUERY, DOCUMENTS)[0].index == 1, "it connects anew"
    reranker.close()


def test_settings_are_all_that_a_scorer_needs() -> None:
    scorer = RemoteScorer(RemoteSettings(url="http://localhost:1", template="client"))
    scorer.close()
    with pytest.raises(ClosedError):
        log_odds(scorer)
