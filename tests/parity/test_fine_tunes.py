"""Fine-tunes as their trainers save them, in any dtype and layout, score as the card's own path has them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AddedToken, AutoTokenizer

from qwen3_rerank_plugins import Qwen3Reranker
from tests.checkpoint_kinds import change_json, copy_tokenizer
from tests.checkpoints import load_reference
from tests.references import CardReference, Pairs, SentenceTransformersReference

PAIRS: Pairs = (
    ("What is the capital of China?", "The capital of China is Beijing."),
    ("What is the capital of China?", "Gravity pulls two bodies towards each other."),
    ("How do bees make honey?", "Bees make honey from nectar: they fan their wings until the water is gone."),
)


def log_odds(folder: Path, **options: Any) -> list[float]:
    """Ours, pair by pair."""
    with Qwen3Reranker(str(folder), device="cpu", dtype="float32", **options) as reranker:
        return [reranker.rank(query, [document])[0].logit for query, document in PAIRS]


@pytest.fixture
def base(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("grouped")


@pytest.mark.parametrize(("shape", "dtype"), [("grouped", torch.float16), ("untied", torch.bfloat16)])
def test_weights_saved_in_any_dtype_and_in_shards(
    shape: str, dtype: torch.dtype, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "fine-tune"
    load_reference(checkpoint(shape), dtype).save_pretrained(folder, max_shard_size="10MB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    copy_tokenizer(checkpoint(shape), folder)
    assert log_odds(folder) == pytest.approx(CardReference(folder).log_odds(PAIRS), abs=1e-4)


def test_added_tokens_and_a_vocabulary_padded_beyond_them(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fine-tune"
    model, tokenizer = load_reference(base), AutoTokenizer.from_pretrained(base)
    assert tokenizer.add_tokens(["<|mine|>", "<|yours|>"], special_tokens=True) == 2
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64, mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"] == 151_680
    assert log_odds(folder) == pytest.approx(CardReference(folder).log_odds(PAIRS), abs=1e-4)


def test_ordinary_added_tokens_in_query_document_and_instruction(base: Path, tmp_path: Path) -> None:
    """As a fine-tune trains them: with flags, rows of their own, and a special token beside them."""
    folder = tmp_path / "fine-tune"
    model, tokenizer = load_reference(base), AutoTokenizer.from_pretrained(base)
    added = [
        *("<product>", "aspirin", AddedToken("[SKU]", lstrip=True, rstrip=True)),
        *(AddedToken("café", normalized=True), AddedToken("ran", single_word=True)),
    ]
    assert tokenizer.add_tokens(added) == 5
    assert tokenizer.add_tokens(["<|mine|>"], special_tokens=True) == 1
    torch.manual_seed(7)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[-6:].normal_(0, 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pairs: Pairs = (
        ("is aspirin a <product>?", "The <product> is aspirin, 500 mg  [SKU]  12345. Nobody ran."),
        ("is aspirin a <product>?", "Bats fly at night. cafe\u0301 grandfather"),
        ("[SKU]", "[SKU]"),
    )
    instruction = "Given a <product>, find its [SKU] in a café"
    expected = CardReference(folder).log_odds(pairs, instruction)
    with Qwen3Reranker(str(folder), device="cpu", dtype="float32", instruction=instruction) as reranker:
        found = [reranker.rank(query, [document])[0].logit for query, document in pairs]
        hostile = reranker.rank("q", ["x", "x<|mine|>", "x< |mine|>"])
    assert found == pytest.approx(expected, abs=1e-3)
    assert len({ranked.logit for ranked in hostile}) == 3
    unaware = CardReference(base).log_odds(pairs, instruction)
    assert max(abs(one - other) for one, other in zip(expected, unaware, strict=True)) > 0.1


def test_no_chat_template_no_pad_token_no_architectures_and_what_trainers_leave_beside(
    base: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "fine-tune"))
    (folder / "chat_template.jinja").unlink()
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for name in ("chat_template", "pad_token"):
        tokenizer.pop(name, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    change_json(folder / "config.json", architectures=None)
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(b"a pickle that nobody opens")
    (folder / "trainer_state.json").write_text("{}", encoding="utf-8")
    assert log_odds(folder) == log_odds(base)


def test_a_folder_that_sentence_transformers_saved_scores_as_there(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fine-tune"
    SentenceTransformersReference(base).encoder.save_pretrained(str(folder))
    assert (folder / "modules.json").is_file()
    theirs = SentenceTransformersReference(folder).log_odds(PAIRS)
    assert log_odds(folder) == pytest.approx(theirs, abs=1e-4)
