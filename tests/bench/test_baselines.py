"""Every baseline gives our scores; only then is it fair to compare times."""

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


@pytest.mark.filterwarnings("default")  # warnings of other packages
@pytest.mark.parametrize("baseline", ["st", "card", "card-last"])
def test_a_baseline_gives_our_log_odds(baseline: str, subject: Subject, text: RealText) -> None:
    if baseline == "st":
        need("sentence_transformers")
    requests = [
        make_request(text.draw(9), [text.draw(length) for length in (5, 80, 33)], None),
        make_request(text.draw(12), [text.draw(20)], None),
    ]
    makers = make_baselines(subject.folder, EngineSettings(model=str(subject.folder)), CPU, torch.float32)
    scored = {}
    for name in ("ours", baseline):
        scorer = makers[name]()
        scorer.prepare(requests)
        scored[name] = scorer.score(requests)
    assert len(scored["ours"]) == 4
    assert max(abs(score) for score in scored["ours"]) > 0.1, "scores near zero would agree by themselves"
    assert scored[baseline] == pytest.approx(scored["ours"], abs=1e-4)


def test_a_baseline_that_is_not_installed_is_not_offered(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen3_rerank_plugins.bench import baselines

    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: None)
    makers = make_baselines(subject.folder, EngineSettings(), CPU, torch.float32)
    assert list(makers) == ["ours", "card-last", "card"]
