"""Missing, doubled, damaged or dropped: what known questions show, on the demo checkpoint behind the small server."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins.errors import RemoteTemplateError, RequestError
from qwen3_rerank_plugins.remote.probe import Evidence, find_fault
from tests.remote.app import RerankApp
from tests.remote.conftest import Connect
from tests.remote.demo_server import DemoServer

MISSING, DOUBLED = "applies no template", "would be there twice"


def evidence(relevant: float, irrelevant: float, *cuts: tuple[float, ...], **more: object) -> Evidence:
    return Evidence(relevant, irrelevant, cuts, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("dialect", ["cohere", "vllm"])
def test_a_template_that_is_there_once_passes_whoever_applies_it(
    dialect: str, connect: Connect, joining: DemoServer, templating: DemoServer
) -> None:
    for template, server in (("server", templating), ("client", joining)):
        app = RerankApp(dialect, server)
        connect(app, template=template, probe=True).warmup()
        assert len(app.bodies) > 1, "it was asked nothing before the warm-up's own pair"


@pytest.mark.parametrize("dialect", ["cohere", "vllm"])
def test_a_missing_template_is_refused(dialect: str, connect: Connect, joining: DemoServer) -> None:
    with pytest.raises(RemoteTemplateError, match=f"{MISSING}.*template='client'.*probe=False"):
        connect(RerankApp(dialect, joining), template="server", probe=True).warmup()


@pytest.mark.parametrize("dialect", ["cohere", "vllm"])
def test_a_doubled_template_is_refused(dialect: str, connect: Connect, templating: DemoServer) -> None:
    with pytest.raises(RemoteTemplateError, match=f"{DOUBLED}.*template='server'.*probe=False"):
        connect(RerankApp(dialect, templating), template="client", probe=True).warmup()


def test_a_server_that_strips_texts_and_so_damages_the_template_is_refused(connect: Connect) -> None:
    app = RerankApp("cohere", DemoServer(template=False, strips=True))
    with pytest.raises(RemoteTemplateError, match="takes white space from the ends of texts"):
        connect(app, template="client", probe=True).warmup()


def test_a_missing_template_is_seen_through_stripping_too(connect: Connect) -> None:
    app = RerankApp("cohere", DemoServer(template=False, strips=True))
    with pytest.raises(RemoteTemplateError, match=MISSING):
        connect(app, template="server", probe=True).warmup()


def test_the_probe_can_be_switched_off(connect: Connect, joining: DemoServer) -> None:
    app = RerankApp("cohere", joining)
    connect(app, template="server", probe=False).warmup()
    assert len(app.bodies) == 1


def test_the_probe_asks_once_for_all_that_follows(connect: Connect, templating: DemoServer) -> None:
    app = RerankApp("cohere", templating)
    scorer = connect(app, template="server", probe=True)
    scorer.warmup()
    asked = len(app.bodies)
    scorer.warmup()
    assert len(app.bodies) == asked + 1


def test_a_server_that_was_mended_is_probed_again(
    connect: Connect, joining: DemoServer, templating: DemoServer
) -> None:
    app = RerankApp("cohere", joining)
    scorer = connect(app, template="server", probe=True)
    with pytest.raises(RemoteTemplateError):
        scorer.warmup()
    app.score = templating
    scorer.warmup()


def test_an_instruction_that_the_server_drops_is_refused_and_its_default_is_not(connect: Connect) -> None:
    from qwen3_rerank_plugins.engine.request import make_request

    scorer = connect(RerankApp("vllm", DemoServer(template=True, heeds=False)), template="server", probe=True)
    scorer.submit(make_request("q", ["d"], None)).result()
    with pytest.raises(RequestError, match="ignores the instruction"):
        scorer.submit(make_request("q", ["d"], "Given a claim, retrieve evidence")).result()


@pytest.mark.parametrize("template", ["server", "client"])
def test_scores_that_do_not_tell_documents_apart_are_refused(template: str) -> None:
    """As published for the 0.6B without its template: 0.8156 and 0.8016, that is 1.487 and 1.396."""
    cuts = [(1.0, 3.0)] if template == "server" else [(2.0, 2.0)]
    found = find_fault(evidence(1.487, 1.396, *cuts), template)  # type: ignore[arg-type]
    assert found is not None
    assert "does not tell a relevant document from an irrelevant one (log-odds 1.49 and 1.40" in found


def test_probabilities_taken_for_log_odds_do_not_pass() -> None:
    found = find_fault(evidence(0.97, 0.06, (0.1, 0.9)), "server")
    assert found is not None
    assert "another scale (scores=...)" in found


def test_noise_of_16_bits_is_no_difference_and_a_tenth_of_the_range_is_one() -> None:
    assert evidence(8.0, -8.0).alike((3.0, 3.125, 3.25))
    assert not evidence(8.0, -8.0).alike((3.0, 4.6))
    assert evidence(1.487, 1.396).alike((1.4, 1.44))


def test_one_cut_that_differs_is_enough_to_see_a_template_and_one_end_to_see_that_it_matters() -> None:
    whole = {"bare_ends": ((5.0, 5.0), (-5.0, -4.0))}
    assert find_fault(evidence(5.0, -5.0, (5.0, 5.0), (-5.0, -5.0), **whole), "client") is None
    assert DOUBLED in str(find_fault(evidence(5.0, -5.0, (5.0, 5.0), (-5.0, -4.0), **whole), "client"))
