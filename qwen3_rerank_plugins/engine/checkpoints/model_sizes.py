"""Check the sizes that a config.json states, first by themselves and then against the headers of the weight files.

Anybody can edit a config.json, and a million layers in it would fill the memory of any machine. So nothing is allocated
before these checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.weight_headers import Tensor
from qwen3_rerank_plugins.engine.files import DOWNLOAD_AGAIN
from qwen3_rerank_plugins.errors import IncompleteCheckpointError, UnsupportedCheckpointError

_DEFAULTS = {
    "vocab_size": 151_936,
    "hidden_size": 4096,
    "intermediate_size": 22_016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
}
"""Defaults of transformers for sizes that a config.json leaves out."""
MOST_LABELS = 1000
"""transformers creates a name for each label, even if the model does not use them."""
_PLAIN_DTYPES = ("F64", "F32", "F16", "BF16")
_LAYER = re.compile(r"layers\.(\d{1,9})\.")


def check_sizes(name: str, config: Mapping[str, Any]) -> None:
    """Check that every size is a positive whole number, and that query heads divide evenly over key/value heads.

    Raises:
        UnsupportedCheckpointError: the message names the size.
    """
    for field in (*_DEFAULTS, "max_position_embeddings"):
        value = config.get(field, _DEFAULTS.get(field))
        if field in ("num_key_value_heads", "head_dim") and value is None:
            continue
        if type(value) is not int or value < 1:
            what = "a number of tokens" if field == "max_position_embeddings" else "a positive whole number"
            raise UnsupportedCheckpointError(
                f"In the config.json of {shown(name)}, {field} is {shown_value(value)}, not {what}. {DOWNLOAD_AGAIN}"
            )
    labels = config.get("num_labels", 1)
    if labels is not None and (type(labels) is not int or not 0 < labels <= MOST_LABELS):
        raise UnsupportedCheckpointError(
            f"In the config.json of {shown(name)}, num_labels is {shown_value(labels)}, not a number of labels. A "
            f"reranker has one or two. {DOWNLOAD_AGAIN}"
        )
    heads, groups = _size(config, "num_attention_heads"), _size(config, "num_key_value_heads")
    if heads % groups:
        raise UnsupportedCheckpointError(
            f"In the config.json of {shown(name)}, num_attention_heads is {heads}, which is no multiple of "
            f"num_key_value_heads, {groups}. {DOWNLOAD_AGAIN}"
        )


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json that passed `check_sizes`, with every size that transformers would fill in."""
    return {**config, **{field: _size(config, field) for field in _DEFAULTS}}


def check_weights(
    name: str, config: Mapping[str, Any], inventory: Mapping[str, Tensor], *, output: str | None, quantized: bool
) -> None:
    """Check that the files hold the parameters that the config.json implies, with their shapes.

    Args:
        name: the checkpoint, for messages.
        config: its config.json, after `check_sizes`.
        inventory: the tensors in its files.
        output: name of the output parameter; None if there is none, or if it is the input embeddings.
        quantized: whether the matrices of the layers are quantized, so their shapes in the files differ.

    Raises:
        IncompleteCheckpointError: a parameter is missing or has another shape.
        UnsupportedCheckpointError: the weights are integers or 8-bit floats, and the config does not say how they are
            quantized.
    """
    found = {key.removeprefix("model."): tensor for key, tensor in inventory.items()}
    in_files = {int(match[1]) for key in found if (match := _LAYER.match(key))}
    layers = _size(config, "num_hidden_layers")
    if layers > len(in_files):
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: its config.json says num_hidden_layers={layers}, and its files hold "
            f"{len(in_files)} layers. {DOWNLOAD_AGAIN}"
        )
    expected = dict(_expected(config, layers, output, quantized=quantized))
    refuse(name, sorted(map(_full_name, expected.keys() - found.keys())), "missing from the files")
    others = (
        f"{_full_name(key)}: {list(found[key].shape)}, not {list(shape)}"
        for key, shape in expected.items()
        if found[key].shape != shape
    )
    refuse(name, sorted(others), "of the wrong shape")
    packed = [] if quantized else sorted((_full_name(key), found[key].dtype) for key in expected)
    for key, dtype in packed:
        if dtype not in _PLAIN_DTYPES:
            raise UnsupportedCheckpointError(
                f"{shown(name)} stores weights as {dtype}, such as {key}, and its config.json does not say how they "
                "are quantized. Download its config.json again, or use the checkpoint that it was made from."
            )


def refuse(name: str, names: Iterable[str], what: str) -> None:
    """Refuse a checkpoint if any parameters are listed.

    Args:
        name: the checkpoint, for messages.
        names: the parameters.
        what: what is wrong with them, after "are" in the message.

    Raises:
        IncompleteCheckpointError: `names` is not empty.
    """
    names = list(names)
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: {len(names)} parameters are {what} ({', '.join(names[:5])}{more}). "
            "Download or export it again."
        )


def shown_value(value: object) -> str:
    """Return a value of a config.json for a message, shortened because a whole number may have millions of digits."""
    if isinstance(value, int) and abs(value) > 10**20:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _size(config: Mapping[str, Any], field: str) -> int:
    value = config.get(field, _DEFAULTS[field])
    if value is None:
        heads = int(config.get("num_attention_heads", _DEFAULTS["num_attention_heads"]))
        value = heads if field == "num_key_value_heads" else max(1, _size(config, "hidden_size") // heads)
    return int(value)


def _full_name(key: str) -> str:
    return key if key.startswith(("lm_head.", "score.")) else f"model.{key}"


def _expected(
    config: Mapping[str, Any], layers: int, output: str | None, *, quantized: bool
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the names and shapes of the model's parameters, except quantized matrices."""
    hidden, wide, head = (_size(config, field) for field in ("hidden_size", "intermediate_size", "head_dim"))
    queries = _size(config, "num_attention_heads") * head
    keys = _size(config, "num_key_value_heads") * head
    yield "embed_tokens.weight", (_size(config, "vocab_size"), hidden)
    yield "norm.weight", (hidden,)
    if output == "score.weight":
        yield output, (score_rows(config), hidden)
    elif output:
        yield output, (_size(config, "vocab_size"), hidden)
    matrices = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    norms = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
    norms |= {"self_attn.q_norm": head, "self_attn.k_norm": head}
    for layer in range(layers):
        for part, length in norms.items():
            yield f"layers.{layer}.{part}.weight", (length,)
        for part, shape in matrices.items() if not quantized else ():
            yield f"layers.{layer}.{part}.weight", shape
            if config.get("attention_bias") and part.startswith("self_attn."):
                yield f"layers.{layer}.{part}.bias", shape[:1]


def score_rows(config: Mapping[str, Any]) -> int:
    """Return the score rows of a classifier's config.json; 0 for a model with an output matrix."""
    if config.get("architectures") != ["Qwen3ForSequenceClassification"]:
        return 0
    labels, count = config.get("id2label"), config.get("num_labels")
    if isinstance(labels, dict):
        return len(labels)
    return count if isinstance(count, int) else 2  # the default of transformers
