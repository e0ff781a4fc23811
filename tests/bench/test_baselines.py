"""Every peer scores the same pairs alike: differences in time are then worth comparing."""

from __future__ import annotations

import pytest
import torch

from qwen3_rerank_plugins.bench.baselines import make_baselines
from qwen3_rerank_plugins.bench.subject import Subject
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.optional import need

CPU = torch.device("cpu")


@pytest.mark.filterwarnings("default")  # what the peers warn about is theirs to mend
@pytest.mark.parametrize("peer", ["st", "card", "card-last"])
def test_a_peer_gives_our_log_odds(peer: str, subject: Subject, text: RealText) -> None:
    if peer == "st":
        need("sentence_transformers")
    requests = [
        make_request(text.draw(9), [text.draw(length) for length in (5, 80, 33)], None),
        make_request(text.draw(12), [text.draw(20)], None),
    ]
    makers = make_baselines(subject.folder, EngineSettings(model=str(subject.folder)), CPU, torch.float32)
    scored = {}
    for name in ("ours", peer):
        scorer = makers[name]()
        scorer.prepare(requests)
        scored[name] = scorer.score(requests)
    assert len(scored["ours"]) == 4
    assert max(abs(score) for score in scored["ours"]) > 0.1, "scores near zero would agree by themselves"
    assert scored[peer] == pytest.approx(scored["ours"], abs=1e-4)


def test_a_peer_that_is_not_installed_is_not_offered(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen3_rerank_plugins.bench import baselines as peers

    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    makers = make_baselines(subject.folder, EngineSettings(), CPU, torch.float32)
    assert list(makers) == ["ours", "card-last", "card"]
