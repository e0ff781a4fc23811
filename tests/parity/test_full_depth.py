"""The real 0.6B shape, all 28 layers, random weights, float32: nothing accumulates on the way down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bundled_data import declaration_tasks
from tests.checkpoints import make_checkpoint
from tests.parity.test_references import TOLERANCE, largest_difference, ours
from tests.references import CardReference, SentenceTransformersReference


@pytest.mark.slow
def test_the_whole_depth_of_the_real_0_6b_shape_equals_card_and_sentence_transformers(
    tmp_path: Path,
) -> None:
    folder = make_checkpoint(tmp_path / "0.6b")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (1024, 28, 151669)
    (task,) = declaration_tasks("eng", 1, candidates=4)
    pairs = [(task["query"], candidate["text"]) for candidate in task["candidates"]]
    found = ours(folder, pairs)
    for reference in (CardReference, SentenceTransformersReference):
        expected = reference(folder).log_odds(pairs)
        difference = largest_difference(found, expected)
        print(f"largest difference of log-odds to {reference.__name__}: {difference:.1e}, scores {expected}")
        assert max(expected) - min(expected) > 0.1
        assert difference <= TOLERANCE
