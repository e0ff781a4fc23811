"""Merge a LoRA adapter into the weights of its base, so that batches need no extra computation for it.

Each matrix is merged in float32 and rounded once to its original dtype. Besides the model, memory holds the adapter and
one matrix in float32, never a second model.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.lora import Adapter
from qwen3_rerank_plugins.engine.checkpoints.weight_headers import read_inventory
from qwen3_rerank_plugins.engine.files import read_json_object
from qwen3_rerank_plugins.engine.loading.quantization import without_kernels
from qwen3_rerank_plugins.errors import IncompleteCheckpointError, MissingExtraError, UnsupportedCheckpointError

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of an adapter's parameters by name; a name starts with that of the base's layer."""
_WHOLE = (".embed_tokens.weight", "lm_head.weight", ".base_layer.weight", ".modules_to_save.weight")
"""Suffixes of the names of whole matrices, as opposed to LoRA's two factors."""
_TRAINED, _BIAS = ".modules_to_save.weight", ".lora_B.bias"
_ADAPTER = ".default"
"""What peft inserts into the names of an adapter's parameters if the adapter has no name."""


def check_peft() -> None:
    """Check that adapters can be merged. Nothing is imported for the answer.

    Raises:
        MissingExtraError: peft is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError("peft", "lora")


def merge_adapter(network: Any, adapter: Adapter) -> None:
    """Merge an adapter into a loaded model, in place.

    Raises:
        MissingExtraError: peft is not installed.
        IncompleteCheckpointError: parameters of the adapter are missing or unexpected.
        UnsupportedCheckpointError: the adapter uses a feature that this version of peft does not know.
        Exception: peft's error if the adapter does not fit this model, or cannot be merged.
    """
    from safetensors.torch import load_file

    check_peft()
    with without_kernels():  # peft imports bitsandbytes if it is installed
        peft = importlib.import_module("peft")
    config = _check_config(peft, adapter)
    shapes = {
        key.removeprefix("base_model.model."): tensor.shape
        for key, tensor in read_inventory(adapter.name, (adapter.weights_file,)).items()
    }
    _check_ranks(adapter, config, shapes, network.config.hidden_size)
    _resize_embeddings(network, adapter, shapes)
    _add_biases(network, adapter, shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about deprecations in peft, and tied matrices, which `_untie` handles
        wrapped = peft.PeftModel(network, peft.PeftConfig.from_pretrained(str(adapter.folder)))
    report = peft.set_peft_model_state_dict(wrapped, _without_copies(load_file(adapter.weights_file)))
    _check_complete(adapter, report)
    _untie(network)
    _merge(wrapped)
    wrapped.base_model.unload()
    network.config.tie_word_embeddings = _are_tied(network)


def _without_copies(state: dict[str, Any]) -> dict[str, Any]:
    """Drop copies: peft saves a resized and fully trained embedding three times (trained, original, trained again)."""
    copies = [key for key in state if key.endswith(_TRAINED)]
    for key in copies:
        state[f"{key.removesuffix(_TRAINED)}.weight"] = state.pop(key)
        state.pop(f"{key.removesuffix(_TRAINED)}.original_module.weight", None)
    return state


def _check_ranks(adapter: Adapter, config: Mapping[str, Any], shapes: Shapes, hidden: int) -> None:
    """Check the ranks in the config, because peft allocates them before it reads the weights."""
    largest = max([hidden, *(shape[0] for key, shape in shapes.items() if ".lora_A." in key or "embedding_A" in key)])
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r", 8), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    wrong = [rank for rank in ranks if type(rank) is not int or not 0 < rank <= largest]
    if wrong:
        raise IncompleteCheckpointError(
            f"The {adapter.config_file.name} of {shown(adapter.name)} says rank {shown(wrong[0])}, and its weights "
            f"have none above {largest}. Download or export the adapter again."
        )


def _resize_embeddings(network: Any, adapter: Adapter, shapes: Shapes) -> None:
    """Resize the embeddings to the rows of the adapter's: peft saves them whole if training added tokens.

    New rows of an output matrix may be missing, because the score reads only the rows of "yes" and "no".
    """
    ends = ("embed_tokens.", "lm_head.")
    whole = {key: shape for key, shape in shapes.items() if key.endswith(_WHOLE) and any(end in key for end in ends)}
    rows = {shape[0] for shape in whole.values()}
    rows |= {shape[1] for key, shape in shapes.items() if key.endswith("embed_tokens.lora_embedding_A")}
    here = network.get_input_embeddings().num_embeddings
    if rows <= {here}:
        return
    if len(rows) > 1 or not any(ends[0] in key for key in whole):
        raise IncompleteCheckpointError(
            f"The adapter {shown(adapter.name)} was trained over embeddings of {', '.join(map(str, sorted(rows)))} "
            f"rows and its base {shown(adapter.base)} has {here}, but the new rows are not in its file. Save it again "
            "with save_embedding_layers=True, or merge it where it was trained."
        )
    network.resize_token_embeddings(rows.pop(), mean_resizing=False)  # every row that is read is overwritten later


def _add_biases(network: Any, adapter: Adapter, shapes: Shapes) -> None:
    """Add a zero bias to each layer for which the adapter has one (`lora_bias`); merging adds to it."""
    for key in shapes:
        if not key.endswith(_BIAS):
            continue
        name = key.removesuffix(_BIAS)
        if ".layers." not in f".{name}":
            raise UnsupportedCheckpointError(
                f"The adapter {shown(adapter.name)} brings a bias for {shown(name)} (lora_bias), which the score "
                "cannot use. Load it in the program that trained it, or train it without lora_bias."
            )
        layer = network.get_submodule(name)
        if layer.bias is None:
            zeros = layer.weight.new_zeros(layer.out_features)
            layer.bias = nn.Parameter(zeros, requires_grad=False)


def _merge(wrapped: Any) -> None:
    """Merge one matrix after another in float32: peft would round the change to 16 bits, and then the sum again."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            base: Any = module.get_base_layer()
            dtype = base.weight.dtype
            base.float()
            module.merge(safe_merge=True)  # refuses NaN and infinity
            base.to(dtype)


def _untie(network: Any) -> None:
    """Copy a shared output matrix if the adapter changes only the input or only the output.

    Merged into the shared matrix, the change would affect the other side too, which the adapter was not trained for.
    """
    from peft.tuners.lora import LoraLayer

    ends = [network.get_input_embeddings(), network.get_output_embeddings()]
    if _are_tied(network) and any(isinstance(end, LoraLayer) for end in ends):
        output = _plain(ends[1])
        output.weight = nn.Parameter(output.weight.detach().clone(), requires_grad=False)


def _are_tied(network: Any) -> bool:
    output = network.get_output_embeddings()
    return output is not None and _plain(output).weight is _plain(network.get_input_embeddings()).weight


def _plain(layer: Any) -> Any:
    """Return the base layer inside a peft layer; other layers are returned unchanged."""
    return layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer


def _check_config(peft: Any, adapter: Adapter) -> dict[str, Any]:
    """Read the adapter's config, and refuse unknown options: peft would ignore them and compute wrong scores."""
    config = read_json_object(adapter.name, adapter.config_file)
    known = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    unknown = sorted(key for key, value in config.items() if value and key not in known)
    if unknown:
        raise UnsupportedCheckpointError(
            f"The adapter {shown(adapter.name)} was saved by peft {config.get('peft_version', 'of another version')} "
            f"with {', '.join(unknown)}, which peft {peft.__version__} does not know. Use a newer peft."
        )
    return config


def _check_complete(adapter: Adapter, report: Any) -> None:
    """Refuse missing parameters: peft leaves them at their initial values, which change nothing, and only warns."""
    missing = sorted(name for name in report.missing_keys if f"{_ADAPTER}." in name)
    for names, what in ((missing, "missing from its file"), (sorted(report.unexpected_keys), "not in its base")):
        if names:
            raise IncompleteCheckpointError(
                f"The adapter {shown(adapter.name)} does not fit {shown(adapter.base)}: {len(names)} parameters are "
                f"{what}, such as {names[0]}. Download or export it again, over the base that it was trained on."
            )
