"""Write the README of the folder from the figures of the run."""

from __future__ import annotations

from typing import Any

from demo_checkpoint.texts import SET_FILES

README = """\
# Demo checkpoint

A tiny `Qwen3ForCausalLM` ({parameters} parameters, float32) with the prompt, the control tokens and the yes/no
output of Qwen3-Reranker. With it, the demo, the examples and the tests run offline in seconds.
**It is for wiring and tests, not for quality**: it matches English words and knows nothing else. Use a real
Qwen3-Reranker for anything that matters.

`tools/build_demo_checkpoint.py` made it on a CPU. Its tokenizer is a byte-level BPE of {vocabulary} tokens. Its weights
started from a hand-built word-matching circuit and were then trained for {steps} steps on pseudo-queries taken from
passages, with the log-odds of a BM25 model as the target. It was not trained on any question of an evaluation set,
but it was trained on the passages of those sets.

nDCG@10 (linear gains) on questions that it never saw; `training_figures.json` has more figures:

| set | demo | before training | shuffled | first stage | its BM25 teacher |
|---|---|---|---|---|---|
{rows}

Before training, the weights are only the hand-built circuit. The first stage is the order in which a set lists its
candidates (BM25; for NovelEval, a web search).

The tokenizer and the pseudo-queries were made from XQuAD (CC BY-SA 4.0), PubMedQA (MIT) and NovelEval (Apache-2.0).
"""


def readme(figures: dict[str, Any]) -> str:
    ways = [figures["ndcg@10"][way] for way in ("demo", "before_training", "shuffled", "first_stage", "teacher")]
    rows = [f"| {name} | " + " | ".join(f"{way[name]:.2f}" for way in ways) + " |" for name in SET_FILES]
    model = figures["model"]
    return README.format(
        parameters=f"{model['parameters'] / 1e6:.2f} M",
        vocabulary=f"{model['vocabulary']:,}",
        steps=f"{figures['training']['steps']:,}",
        rows="\n".join(rows),
    )


def rounded(figures: Any) -> Any:
    """Round figures to three significant digits."""
    if isinstance(figures, dict):
        return {name: rounded(figure) for name, figure in figures.items()}
    return float(f"{figures:.3g}") if isinstance(figures, float) else figures
