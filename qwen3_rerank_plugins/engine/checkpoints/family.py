"""Which checkpoints a caller accepts; the Qwen3-Reranker family, with causal models and classifiers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import score_rows, shown_value
from qwen3_rerank_plugins.engine.text.template import NO, YES
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

_CAUSAL, _CLASSIFIER = "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """A model family that a caller can use.

    Attributes:
        ids: the published ids, for messages.
        check: called with the name and the config.json of a checkpoint; raises `UnsupportedCheckpointError` if it
            belongs to another family.
        has_demo: whether the bundled demo checkpoint belongs to it.
        variants: whether adapters and quantized checkpoints can be used too.
    """

    ids: str
    check: Callable[[str, dict[str, Any]], None]
    has_demo: bool = False
    variants: bool = False


def _check_reranker(name: str, config: dict[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if config.get("model_type") != "qwen3" or architectures not in ([], [_CAUSAL], [_CLASSIFIER]):
        found = architectures[0] if architectures else f"model_type {config.get('model_type')!r}"
        raise UnsupportedCheckpointError(
            f"{shown(name)} is {found}, neither {_CAUSAL} nor {_CLASSIFIER}. Use {RERANKER.ids}, or a fine-tune of one."
        )
    if architectures == [_CLASSIFIER]:
        _check_labels(name, config)


def _check_labels(name: str, config: dict[str, Any]) -> None:
    """Check the labels of a classifier. One score is the log-odds; for two, the labels must say which is which."""
    labels, count = config.get("id2label"), score_rows(config)
    if labels is not None:
        _check_label_numbers(name, labels)
    if count == 1:
        return
    if isinstance(labels, dict) and sorted(str(label).lower() for label in labels.values()) == [NO, YES]:
        return
    raise UnsupportedCheckpointError(
        f"{shown(name)} classifies into {count} labels ({shown_value(labels)}), and nothing says which of them means "
        f"relevant. Make id2label in its config.json call the two {NO!r} and {YES!r}, or use a conversion "
        "with one label."
    )


def _check_label_numbers(name: str, labels: Any) -> None:
    """Check that the keys of id2label are the rows of the score matrix: from 0 on, each once."""
    keys = list(labels) if isinstance(labels, dict) else []
    if sorted(keys) != sorted(map(str, range(len(keys)))) or not keys:
        raise UnsupportedCheckpointError(
            f"The id2label in the config.json of {shown(name)} must number its labels from '0' on, as the rows of the "
            f"score matrix are numbered; it is {shown_value(labels)}. Make it number them so."
        )


RERANKER = Family("Qwen/Qwen3-Reranker-0.6B, -4B or -8B", _check_reranker, has_demo=True, variants=True)
