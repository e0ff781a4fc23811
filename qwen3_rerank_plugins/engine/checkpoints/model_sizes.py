"""The sizes that a config.json states, checked before anything is allocated: their kind, then against the weights.

A config.json is a few lines that anybody can edit; a million layers in it would fill the memory of any machine. The
headers of the weight files say what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.weight_headers import Tensor
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
"""What transformers takes where a config.json leaves a size out."""
MOST_LABELS = 1000
"""transformers makes a name for each label, also where the model has no use for them."""
_PLAIN_DTYPES = ("F64", "F32", "F16", "BF16")
_LAYER = re.compile(r"layers\.(\d{1,9})\.")
_AGAIN = "Download or export the checkpoint again."


def check_sizes(name: str, config: Mapping[str, Any]) -> None:
    """Whether every size is a positive whole number.

    Raises:
        UnsupportedCheckpointError: one is not; the message names it.
    """
    for field in (*_DEFAULTS, "max_position_embeddings"):
        value = config.get(field, _DEFAULTS.get(field))
        if field in ("num_key_value_heads", "head_dim") and value is None:
            continue
        if type(value) is not int or value < 1:
            what = "a number of tokens" if field == "max_position_embeddings" else "a positive whole number"
            raise UnsupportedCheckpointError(
                f"In the config.json of {shown(name)}, {field} is {shown_value(value)}, not {what}. {_AGAIN}"
            )
    labels = config.get("num_labels", 1)
    if labels is not None and (type(labels) is not int or not 0 < labels <= MOST_LABELS):
        raise UnsupportedCheckpointError(
            f"In the config.json of {shown(name)}, num_labels is {shown_value(labels)}, not a number of labels. A "
            f"reranker has one or two. {_AGAIN}"
        )
    heads, groups = _size(config, "num_attention_heads"), _size(config, "num_key_value_heads")
    if heads % groups:
        raise UnsupportedCheckpointError(
            f"In the config.json of {shown(name)}, num_attention_heads is {heads}, which is no multiple of "
            f"num_key_value_heads, {groups}. {_AGAIN}"
        )


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json after `check_sizes`, with every size that transformers would fill in."""
    return {**config, **{field: _size(config, field) for field in _DEFAULTS}}


def check_weights(
    name: str, config: Mapping[str, Any], inventory: Mapping[str, Tensor], *, output: str | None, quantized: bool
) -> None:
    """Whether the weights are as many and as large as the config.json says.

    Args:
        name: of the checkpoint.
        config: its config.json, after `check_sizes`.
        inventory: what is in its files.
        output: of the parameter behind the last norm; None where there is none, or none of its own.
        quantized: whether the matrices of the layers are packed, and have other shapes in the files.

    Raises:
        IncompleteCheckpointError: a parameter is missing or of another shape.
        UnsupportedCheckpointError: the weights are integers or 8-bit floats, and nothing says what they stand for.
    """
    found = {tensor.removeprefix("model."): part for tensor, part in inventory.items()}
    there = {int(match[1]) for tensor in found if (match := _LAYER.match(tensor))}
    layers = config.get("num_hidden_layers", _DEFAULTS["num_hidden_layers"])
    if layers > len(there):
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: its config.json says num_hidden_layers={layers}, and its files hold "
            f"{len(there)} layers. {_AGAIN}"
        )
    expected = dict(_expected(config, layers, output, quantized=quantized))
    missing = sorted(_full(tensor) for tensor in expected.keys() - found.keys())
    refuse(name, missing, "missing from the files")
    others = (
        f"{_full(tensor)}: {list(found[tensor].shape)}, not {list(shape)}"
        for tensor, shape in expected.items()
        if found[tensor].shape != shape
    )
    refuse(name, sorted(others), "of the wrong shape")
    packed = [] if quantized else sorted(_full(key) for key in expected if found[key].dtype not in _PLAIN_DTYPES)
    if packed:
        dtype = found[packed[0].removeprefix("model.")].dtype
        raise UnsupportedCheckpointError(
            f"{shown(name)} stores weights as {dtype}, such as {packed[0]}, and its config.json does not say how they "
            "are quantized. Download its config.json again, or use the checkpoint that it was made from."
        )


def refuse(name: str, names: Iterable[str], what: str) -> None:
    """Refuse a checkpoint for these of its parameters, if there are any.

    Raises:
        IncompleteCheckpointError: there are.
    """
    names = list(names)
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: {len(names)} parameters are {what} ({', '.join(names[:5])}{more}). "
            "Download or export it again."
        )


def shown_value(value: object) -> str:
    """A value of a config.json as a message shows it: a whole number may have millions of digits."""
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


def _full(tensor: str) -> str:
    return tensor if tensor.startswith(("lm_head.", "score.")) else f"model.{tensor}"


def _expected(
    config: Mapping[str, Any], layers: int, output: str | None, *, quantized: bool
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Parameters that the model has, and their shapes; packed ones are left out."""
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
    """How many rows of a score a config.json promises: none, where there is an output matrix instead."""
    if config.get("architectures") != ["Qwen3ForSequenceClassification"]:
        return 0
    labels, count = config.get("id2label"), config.get("num_labels")
    if isinstance(labels, dict):
        return len(labels)
    return count if isinstance(count, int) else 2  # as transformers has it
