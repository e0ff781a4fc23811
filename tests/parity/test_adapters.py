"""A merged LoRA adapter scores as the unmerged one does on the card's own path, and where it was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoint_kinds import make_adapter
from tests.optional import need
from tests.parity.test_fine_tunes import PAIRS, log_odds
from tests.references import INSTRUCTION, CardReference, SentenceTransformersReference
from tests.sealed import run_sealed


@pytest.fixture(autouse=True)
def peft_is_there() -> None:
    need("peft")


@pytest.mark.parametrize("use_dora", [False, True])
def test_on_the_cards_path_it_scores_as_unmerged(
    use_dora: bool, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    base, folder = checkpoint("untied"), tmp_path / "adapter"
    card = CardReference(base)
    before = card.log_odds(PAIRS)
    card.model = make_adapter(base, folder, target_modules="all-linear", use_dora=use_dora)
    expected = card.log_odds(PAIRS)
    assert log_odds(folder) == pytest.approx(expected, abs=1e-4)
    assert min(abs(one - other) for one, other in zip(before, expected, strict=True)) > 0.05


def test_an_adapter_that_sentence_transformers_saved_scores_as_there(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    from peft import LoraConfig

    encoder = SentenceTransformersReference(checkpoint("one-layer")).encoder
    encoder.add_adapter(LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    for name, parameter in encoder.named_parameters():
        if "lora_" in name:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    encoder.save_pretrained(str(tmp_path / "adapter"))
    theirs = encoder.predict(
        list(PAIRS), prompt=INSTRUCTION, activation_fn=torch.nn.Identity(), show_progress_bar=False
    )
    assert log_odds(tmp_path / "adapter") == pytest.approx([float(score) for score in theirs], abs=1e-4)


def test_it_loads_and_scores_without_one_attempt_to_connect(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    make_adapter(checkpoint("one-layer"), folder, target_modules=["q_proj"])
    done = run_sealed(
        f"from qwen3_rerank_plugins import Qwen3Reranker\nprint(len(Qwen3Reranker({str(folder)!r}).rank('q', ['d'])))",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.attempts) == (0, "1\n", []), done.stderr
