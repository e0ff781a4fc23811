"""Every RoPE type that is read scores as transformers does with each prompt alone, whatever company it has here."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.errors import RequestError
from tests.checkpoint_kinds import change_json
from tests.references import CardReference

ORIGINAL = 256
"""Positions before any extension: a prompt of a few words is shorter, one of 200 words is longer."""
HALF_A_HEAD = 32
ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": ORIGINAL},
    "yarn with every option": {
        **{"factor": 4.0, "original_max_position_embeddings": ORIGINAL, "beta_fast": 16, "beta_slow": 2},
        **{"mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False},
    },
    "longrope": {
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
        "short_factor": [1.0 + 0.05 * place for place in range(HALF_A_HEAD)],
        "long_factor": [1.0 + 2.0 * place for place in range(HALF_A_HEAD)],
    },
    "llama3": {
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
}
QUERY = "which animals fly?"
DOCUMENTS = [
    "Bats do.",
    "Swallows fly south before the winter, and come back in spring. " * 24,
    "The cat sleeps on the mat.",
    "Gravity pulls two bodies towards each other, however far apart they are. " * 40,
    "Bees fly from flower to flower. " * 60,
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with fewer positions, and with queries that make attention sharp, so that positions matter."""
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path_factory.mktemp("rope") / "base"))
    change_json(folder / "config.json", max_position_embeddings=ORIGINAL)
    weights = load_file(folder / "model.safetensors")
    changed = {name: weight * 4 if "q_norm" in name else weight for name, weight in weights.items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_rope(base: Path, folder: Path, name: str, spelling: str = "rope_type", **changes: Any) -> Path:
    """A copy with another rope, in the spelling of transformers 4 or in that of 5."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    theta = (config.pop("rope_parameters", None) or {}).get("rope_theta", config.get("rope_theta"))
    kind = name.split(maxsplit=1)[0]
    if spelling == "rope_parameters":
        rope = {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **ROPES[name]}, "rope_scaling": None}
    else:
        rope = {"rope_theta": theta, "rope_scaling": {spelling: kind, **ROPES[name]} if ROPES[name] else None}
    (folder / "config.json").write_text(json.dumps({**config, **rope, **changes}), encoding="utf-8")
    return folder


def references(folder: Path, documents: list[str]) -> list[float]:
    """Each alone, in a model that has seen no other: transformers keeps frequencies from one prompt to the next."""
    reference, found = CardReference(folder), list[float]()
    for document in documents:
        backbone = reference.model.model
        backbone.rotary_emb = type(backbone.rotary_emb)(config=backbone.config)
        found += reference.log_odds([(QUERY, document)])
    return found


def ours(folder: Path, documents: list[str], **options: Any) -> list[float]:
    with Qwen3Reranker(str(folder), device="cpu", **{"dtype": "float32", **options}) as reranker:
        ranked = reranker.rank(QUERY, documents)
    assert not any(found.truncated_tokens for found in ranked)
    return [found.logit for found in sorted(ranked, key=lambda found: found.index)]


@pytest.mark.parametrize("spelling", ["type", "rope_type", "rope_parameters"])
@pytest.mark.parametrize("name", ROPES)
def test_scores_equal_transformers_alone_and_in_company_short_and_past_the_original_length(
    name: str, spelling: str, base: Path, tmp_path: Path
) -> None:
    folder = with_rope(base, tmp_path / "checkpoint", name, spelling)
    documents = DOCUMENTS if name != "default" else [DOCUMENTS[0], DOCUMENTS[2]]
    expected = references(folder, documents)
    assert ours(folder, documents, max_length=ORIGINAL * 4 if name != "default" else None) == pytest.approx(
        expected, abs=2e-4
    )
    for document, score in zip(documents, expected, strict=True):
        assert ours(folder, [document]) == pytest.approx([score], abs=2e-4)


@pytest.mark.parametrize("name", ["longrope", "dynamic"])
def test_the_frequencies_do_change_past_the_original_length(name: str, base: Path, tmp_path: Path) -> None:
    """What makes the test above one of company: with the default rope the long documents score differently."""
    rope = with_rope(base, tmp_path / "rope", name)
    plain = with_rope(base, tmp_path / "plain", "default", max_position_embeddings=ORIGINAL * 4)
    long = [document for document in DOCUMENTS if len(document) > 1000]
    found, otherwise = ours(rope, long), ours(plain, long)
    assert max(abs(one - other) for one, other in zip(found, otherwise, strict=True)) > 0.1


@pytest.mark.parametrize(
    ("name", "positions"), [("longrope", ORIGINAL), ("longrope", ORIGINAL * 4), ("dynamic", ORIGINAL)]
)
def test_requests_of_short_and_long_documents_that_share_a_pass_score_as_alone(
    name: str, positions: int, base: Path, tmp_path: Path
) -> None:
    folder = with_rope(base, tmp_path / "checkpoint", name, max_position_embeddings=positions)
    queries = [QUERY, "what is gravity?", "who sleeps?"]
    pairs = [(query, document) for query in queries for document in DOCUMENTS]
    with Qwen3Reranker(str(folder), device="cpu", dtype="float32") as reranker:
        reranker.warmup()
        together = reranker.score(pairs)
        alone = [reranker.score([pair])[0] for pair in pairs]
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("name", ["longrope", "yarn"])
def test_bfloat16_scores_stay_within_its_rounding_of_those_in_float32(name: str, base: Path, tmp_path: Path) -> None:
    folder = with_rope(base, tmp_path / "checkpoint", name)
    expected = references(folder, DOCUMENTS)
    assert ours(folder, DOCUMENTS, dtype="bfloat16") == pytest.approx(expected, abs=0.5)


def test_windows_of_a_long_document_have_the_frequencies_of_their_own_length(base: Path, tmp_path: Path) -> None:
    folder = with_rope(base, tmp_path / "checkpoint", "longrope")
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "long_documents": "windows"}
    with Qwen3Reranker(str(folder), max_length=ORIGINAL + 100, **options) as reranker:
        (found,) = reranker.rank(QUERY, [DOCUMENTS[3]])
        assert found.span is not None
        (alone,) = reranker.rank(QUERY, [DOCUMENTS[3][slice(*found.span)]])
    assert found.logit == pytest.approx(alone.logit, abs=1e-4)


def test_yarn_over_40960_positions_takes_a_max_length_of_60000(base: Path, tmp_path: Path) -> None:
    folder = with_rope(base, tmp_path / "checkpoint", "yarn")
    parameters = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40960}
    change_json(folder / "config.json", max_position_embeddings=40960, rope_scaling=parameters)
    with Qwen3Reranker(str(folder), max_length=60000, device="cpu") as reranker:
        assert reranker.rank(QUERY, DOCUMENTS[:1])
    with (
        Qwen3Reranker(str(folder), max_length=163_841, device="cpu") as reranker,
        pytest.raises(RequestError, match="max_length=163841 is more than the 163840 positions"),
    ):
        reranker.rank(QUERY, DOCUMENTS[:1])


def test_a_checkpoint_of_few_positions_takes_its_own_limit_as_the_default_with_one_note(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, logger="qwen3_rerank_plugins"),
        Qwen3Reranker(str(base), device="cpu") as reranker,
    ):
        reranker.warmup()
        cut = {found.index: found.truncated_tokens for found in reranker.rank(QUERY, DOCUMENTS)}
        reranker.rank(QUERY, DOCUMENTS[:1])
    assert cut[0] == cut[2] == 0
    assert min(cut[1], cut[3], cut[4]) > 0
    notes = [record.getMessage() for record in caplog.records if "positions for" in record.getMessage()]
    assert len(notes) == 1
    assert f"positions for {ORIGINAL} tokens" in notes[0]


@pytest.mark.parametrize("max_length", [ORIGINAL + 1, 8192])
def test_an_explicit_max_length_above_the_limit_is_refused_with_the_number(max_length: int, base: Path) -> None:
    with (
        Qwen3Reranker(str(base), max_length=max_length, device="cpu") as reranker,
        pytest.raises(RequestError, match=rf"max_length={max_length} is more than .* Use max_length={ORIGINAL} or"),
    ):
        reranker.rank(QUERY, DOCUMENTS)
