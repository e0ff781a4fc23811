"""Train the model to give the order and the scale of the teacher's scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3ForCausalLM

from demo_checkpoint.pair_scorer import PairScorer
from demo_checkpoint.queries import Example, ExampleMaker
from demo_checkpoint.teacher import Teacher


@dataclass
class Recipe:
    """Limits and hyperparameters of the training."""

    steps: int
    minutes: float
    seed: int
    queries_per_step: int = 3
    documents_per_query: int = 12
    learning_rate: float = 1.5e-3
    embedding_rate: float = 1.5e-3
    warmup: int = 30
    validation_queries: int = 60


def loss_of(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the loss: a divergence over the documents for the order, and a squared error for the scale."""
    order = functional.kl_div(
        functional.log_softmax(scores, 0), functional.log_softmax(targets, 0), log_target=True, reduction="sum"
    )
    return order + 0.1 * functional.mse_loss(scores, targets)


@torch.no_grad()
def validate(scorer: PairScorer, examples: Sequence[Example]) -> dict[str, float]:
    """Return the loss on pseudo-queries of another seed, and how often the teacher's first document comes first."""
    losses, hits = [], 0
    for example in examples:
        scores, targets = scorer(example.head, example.documents), torch.tensor(example.targets)
        losses.append(loss_of(scores, targets).item())
        hits += int(scores.argmax() == targets.argmax())
    return {"loss": sum(losses) / len(losses), "first": hits / len(examples)}


def train(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, passages: Sequence[str], teacher: Teacher, recipe: Recipe
) -> dict[str, Any]:
    """Train in place, and return the figures of the run.

    The learning rate falls linearly to almost zero at the limit of steps or of minutes, whichever comes first. Only a
    run that ends by its steps is reproducible to the digit.
    """
    scorer = PairScorer(model, tokenizer)
    maker = ExampleMaker(passages, teacher, recipe.seed, recipe.documents_per_query)
    held_out_maker = ExampleMaker(passages, teacher, recipe.seed + 1_000_003, recipe.documents_per_query)
    held_out = [held_out_maker.make() for _ in range(recipe.validation_queries)]
    embeddings = [model.model.embed_tokens.weight]
    others = [p for p in model.parameters() if p is not embeddings[0]]
    groups = [{"params": embeddings, "lr": recipe.embedding_rate}, {"params": others, "lr": recipe.learning_rate}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    rates = [group["lr"] for group in optimizer.param_groups]
    before, started, running, step = validate(scorer, held_out), time.monotonic(), 0.0, 0
    model.train()
    columns = (
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=recipe.steps, note="")
        while step < recipe.steps and (spent := (time.monotonic() - started) / 60) < recipe.minutes:
            step += 1
            progress = max(step / recipe.steps, spent / recipe.minutes)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(step / recipe.warmup, 1 - 0.98 * progress)
            total = 0.0
            for _ in range(recipe.queries_per_step):
                example = maker.make()
                loss = loss_of(scorer(example.head, example.documents), torch.tensor(example.targets))
                torch.autograd.backward(loss / recipe.queries_per_step)
                total += loss.item() / recipe.queries_per_step
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            running = total if step == 1 else 0.98 * running + 0.02 * total
            bar.update(task, advance=1, note=f"loss {running:.3f}")
            if step % 100 == 0:
                after = validate(scorer, held_out)
                bar.print(
                    f"step {step}: training loss {running:.3f}, held out {after['loss']:.3f}, {spent:.1f} minutes"
                )
    model.train(False)
    return {
        "steps": step,
        "minutes": (time.monotonic() - started) / 60,
        "held_out_before": before,
        "held_out_after": validate(scorer, held_out),
    }
