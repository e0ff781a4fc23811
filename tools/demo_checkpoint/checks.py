"""Checks of the written folder: exact loading, prompts that split at the document, equal scores in every library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from demo_checkpoint.pair_scorer import PairScorer
from demo_checkpoint.prompt import DEFAULT_INSTRUCTION, head_of, tail_of


def load_stock(out: Path) -> tuple[Qwen3ForCausalLM, Any]:
    """Load the folder with the stock classes; raise RuntimeError if a weight is missing, unexpected or misshapen."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    model, loading = loaded
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading.get(problem):
            raise RuntimeError(f"{problem}: {loading[problem]}")
    return model.eval(), AutoTokenizer.from_pretrained(out)


@torch.no_grad()
def card_log_odds(model: Qwen3ForCausalLM, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Compute log-odds as the model card does: whole prompts, padded on the left, stock forward pass."""
    prompts = [head_of(DEFAULT_INSTRUCTION, query) + tail_of(document) for query, document in pairs]
    batch = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    last = model(**batch).logits[:, -1]
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    return [float(x) for x in last[:, yes] - last[:, no]]


def check_folder(out: Path, passages: Sequence[str]) -> dict[str, Any]:
    """Check the folder; return the scores of two known pairs and the largest differences between implementations."""
    model, tokenizer = load_stock(out)
    raw = Tokenizer.from_file(str(out / "tokenizer.json"))
    head = head_of(DEFAULT_INSTRUCTION, "What is this?")
    for passage in passages:
        whole = raw.encode(head + tail_of(passage)).ids
        if whole != raw.encode(head).ids + raw.encode(tail_of(passage)).ids:
            raise RuntimeError(f"the prompt does not split at the document: {passage[:80]!r}")
        if whole != tokenizer(head + tail_of(passage))["input_ids"]:
            raise RuntimeError(f"transformers tokenizes this differently: {passage[:80]!r}")
    count = len(passages)
    china = "What is the capital of China?"
    pairs = [
        (china, "The capital of China is Beijing."),
        (china, "Gravity is a force that attracts two bodies towards each other."),
        *((passages[i % count].split(".")[0][:80], passages[j % count]) for i in range(0, 50, 5) for j in (i, i + 7)),
    ]
    card = card_log_odds(model, tokenizer, pairs)
    scorer = PairScorer(model, raw)
    with torch.no_grad():
        ours = [scorer(head_of(DEFAULT_INSTRUCTION, query), [document]).item() for query, document in pairs]
    figures: dict[str, Any] = {
        "capital_of_china": {"beijing": round(card[0], 2), "gravity": round(card[1], 2)},
        "largest_difference_shared_head": max(abs(a - b) for a, b in zip(card, ours, strict=True)),
    }
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        return figures
    baseline = CrossEncoder(str(out), device="cpu").predict(pairs, batch_size=8)
    figures["largest_difference_cross_encoder"] = max(abs(a - float(b)) for a, b in zip(card, baseline, strict=True))
    if max(value for name, value in figures.items() if name.startswith("largest")) > 1e-4:
        raise RuntimeError(f"the same pairs have different scores in another implementation: {figures}")
    return figures
