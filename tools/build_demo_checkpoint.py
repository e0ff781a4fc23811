"""Build the demo checkpoint: a tiny Qwen3ForCausalLM that orders documents by the words they share with the query.

    python tools/build_demo_checkpoint.py --data ../shared/data --out qwen3_rerank_plugins/demo_checkpoint
    python tools/build_demo_checkpoint.py --smoke    # every stage in seconds, on the bundled passages; keeps nothing

The checkpoint has a few megabytes and the same prompt, control tokens and yes/no output as Qwen3-Reranker. With it, the
demo, the examples and the tests run offline in seconds. It matches words, knows nothing else, and says nothing about
quality.

The script makes it on the CPU, with fixed seeds:

1. train a small byte-level BPE on the passages (never on the queries of the evaluation sets);
2. start from weights with a hand-built word-matching circuit (`demo_checkpoint/circuit.py`), because a random model of
   this size needs hours to learn matching;
3. train on pseudo-queries cut from passages, with hard negatives that share rare words, towards the log-odds of a
   lexical teacher (a BM25 with light stemming);
4. write the folder, load it with the stock classes, and evaluate it on questions that no step has seen.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from demo_checkpoint.architecture import make_config
from demo_checkpoint.checks import check_folder, load_stock
from demo_checkpoint.circuit import MatchingInit
from demo_checkpoint.evaluation import evaluate, evaluate_others
from demo_checkpoint.folder import write_checkpoint, write_json
from demo_checkpoint.pair_scorer import PairScorer
from demo_checkpoint.report import readme, rounded
from demo_checkpoint.teacher import Teacher
from demo_checkpoint.texts import ENGLISH_SOURCES, TARGETS, passages_in, write_bundled_sets
from demo_checkpoint.tokenizer import train_tokenizer
from demo_checkpoint.training import Recipe, train
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description="Build the demo checkpoint, on the CPU, from the test texts.")
    parser.add_argument(
        "--data", type=Path, default=here.parent / "shared" / "data", help="folder with the folder sets/"
    )
    parser.add_argument("--out", type=Path, default=here / "qwen3_rerank_plugins" / "demo_checkpoint")
    parser.add_argument("--steps", type=int, default=600, help="training steps")
    parser.add_argument("--minutes", type=float, default=60, help="time limit of the training")
    parser.add_argument("--vocabulary", type=int, default=9216, help="number of tokens, including control tokens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eval-only", action="store_true", help="check and evaluate the folder without training")
    parser.add_argument("--smoke", action="store_true", help="two steps on the bundled passages, in a temporary folder")
    return parser.parse_args(arguments)


def build(options: argparse.Namespace, passages: Sequence[str], teacher: Teacher) -> dict[str, Any]:
    """Train and write the checkpoint, and return the figures of the run."""
    tokenizer = train_tokenizer(passages, options.vocabulary)
    model = Qwen3ForCausalLM(make_config(tokenizer))
    MatchingInit(model, tokenizer, teacher, options.seed).apply()
    before = evaluate(PairScorer(model, tokenizer), options.data)
    recipe = Recipe(steps=options.steps, minutes=options.minutes, seed=options.seed)
    if options.smoke:
        recipe = dataclasses.replace(recipe, validation_queries=3)
    training = train(model, tokenizer, passages, teacher, recipe)
    write_checkpoint(options.out, model, tokenizer)
    return {
        "seed": options.seed,
        "model": {
            "parameters": sum(p.numel() for p in model.parameters()),
            "vocabulary": tokenizer.get_vocab_size(),
            "passages": len(passages),
        },
        "training": training,
        "ndcg@10": {"before_training": before},
        "versions": {
            "python": platform.python_version(),
            **{m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if not options.smoke:
        run(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        options.data, options.out, options.steps = Path(folder), Path(folder) / "demo_checkpoint", 2
        write_bundled_sets(options.data)
        run(options)


def run(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    passages = list(dict.fromkeys(p for source in ENGLISH_SOURCES for p in passages_in(options.data / source)))
    teacher = Teacher(passages)
    kept = options.out / "training_figures.json"
    if options.eval_only:
        figures = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    else:
        figures = build(options, passages, teacher)
    saved = PairScorer(load_stock(options.out)[0], Tokenizer.from_file(str(options.out / "tokenizer.json")))
    demo = evaluate(saved, options.data)
    figures["ndcg@10"] = {**figures.get("ndcg@10", {}), "demo": demo, **evaluate_others(options.data, teacher)}
    figures["ndcg_gains"] = "linear, as trec_eval"
    figures["checks"] = check_folder(options.out, passages)
    figures = rounded(figures)
    print(json.dumps(figures, indent=2))
    if not options.eval_only:
        write_json(kept, figures)
        (options.out / "README.md").write_text(readme(figures), encoding="utf-8")
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{size / 1e6:.2f} MB in {options.out.name}")
    missed = [name for name, target in TARGETS.items() if demo[name] < target]
    if missed and not options.smoke:
        raise SystemExit(f"below the target: {', '.join(missed)}")


if __name__ == "__main__":
    main()
