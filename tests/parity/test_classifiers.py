"""Conversions for sequence classification score as the checkpoints that they were made from, and as in transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import dtype_word, load_model
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.checkpoint_kinds import make_classifier
from tests.optional import need
from tests.parity.test_fine_tunes import PAIRS, log_odds
from tests.references import INSTRUCTION, PREFIX, SUFFIX

ONE, TWO, SWAPPED = ("LABEL_0",), ("no", "yes"), ("Yes", "No")


@pytest.mark.parametrize(("shape", "labels"), [("grouped", ONE), ("untied", TWO), ("grouped", SWAPPED)])
def test_a_conversion_scores_as_its_original_and_as_transformers_has_it(
    shape: str, labels: tuple[str, ...], checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    original, folder = checkpoint(shape), tmp_path / "classifier"
    make_classifier(original, folder, labels)
    ours = log_odds(folder)
    assert ours == pytest.approx(log_odds(original), abs=1e-5)
    assert ours == pytest.approx(transformers_log_odds(folder, labels), abs=1e-4)


@torch.inference_mode()
def transformers_log_odds(folder: Path, labels: tuple[str, ...]) -> list[float]:
    """Its own forward pass over whole prompts, pooled at the last token that is no padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    texts = [
        f"{PREFIX}<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}{SUFFIX}"
        for query, document in PAIRS
    ]
    model = AutoModelForSequenceClassification.from_pretrained(folder).float().eval()
    logits = model(**tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)).logits.double()
    if len(labels) == 1:
        return logits[:, 0].tolist()
    yes = [label.lower() for label in labels].index("yes")
    return (logits[:, yes] - logits[:, 1 - yes]).tolist()


def test_sentence_transformers_scores_a_conversion_alike_where_it_is_given_the_prompt(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    need("sentence_transformers")
    from sentence_transformers import CrossEncoder

    folder = make_classifier(checkpoint("grouped"), tmp_path / "classifier")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer.pop("chat_template", None)  # with one, it would lay pairs into that
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    encoder = CrossEncoder(str(folder), device="cpu", model_kwargs={dtype_word(): torch.float32})
    texts = [
        (f"{PREFIX}<Instruct>: {INSTRUCTION}\n<Query>: {query}\n", f"<Document>: {document}{SUFFIX}")
        for query, document in PAIRS
    ]
    theirs = encoder.predict(texts, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    assert log_odds(folder) == pytest.approx([float(score) for score in theirs], abs=1e-4)


@pytest.mark.parametrize("labels", [ONE, TWO])
def test_it_loads_in_16_bits_and_its_parameters_are_those_that_are_counted(
    labels: tuple[str, ...], checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = make_classifier(checkpoint("untied"), tmp_path / "classifier", labels)
    settings = EngineSettings(model=str(folder), device="cpu", dtype="bfloat16")
    found = find_checkpoint(settings)
    loaded = load_model(settings, found)
    assert {parameter.dtype for parameter in loaded.causal_lm.parameters()} == {torch.bfloat16}
    shape = Shape.from_config(found.config)
    assert shape.parameters == sum(parameter.numel() for parameter in loaded.causal_lm.parameters())
    assert shape.output_matrix_bytes(torch.float32) == 0
    loaded.release_output_matrix()  # which it has none of
    spread = load_model(EngineSettings(model=str(folder), device_map="auto", dtype="bfloat16"), found)
    assert torch.equal(spread.causal_lm.score.weight, loaded.causal_lm.score.weight)
