"""A LoRA adapter -> the same change in the weights of its base, so that nothing of it is left to compute in a pass.

Comes in: a loaded model and an `Adapter`. Goes out: the same model, changed.
Must not know: devices, prompts, scores.

Each matrix is merged in float32 and rounded once to the dtype that it had. Beside the model there are the adapter and
one matrix in float32, never a second model.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import warnings
from typing import Any

from torch import nn

from qwen3_rerank_plugins.engine.adapter import Adapter
from qwen3_rerank_plugins.engine.quantization import without_kernels
from qwen3_rerank_plugins.errors import IncompleteCheckpointError, MissingExtraError, UnsupportedCheckpointError

_OWN = ".default"
"""What peft puts into the names of an adapter's parameters, where the adapter is given no name."""


def check_peft() -> None:
    """Whether adapters can be merged here; nothing is imported for the answer.

    Raises:
        MissingExtraError: peft is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError("peft", "lora")


def merge_adapter(network: Any, adapter: Adapter) -> None:
    """Merge in place.

    Raises:
        MissingExtraError: peft is not installed.
        IncompleteCheckpointError: parameters of the adapter are missing or left over.
        UnsupportedCheckpointError: it holds something that this version of peft does not know.
        Exception: whatever peft raises where it cannot put it into this model, or cannot merge it.
    """
    from safetensors.torch import load_file

    check_peft()
    with without_kernels():  # peft imports bitsandbytes, where that is installed
        peft = importlib.import_module("peft")
    _check_config(peft, adapter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about deprecations of its own, and tied matrices, which are seen to here
        wrapped = peft.PeftModel(network, peft.PeftConfig.from_pretrained(str(adapter.folder)))
    report = peft.set_peft_model_state_dict(wrapped, load_file(adapter.weights_file))
    _check_complete(adapter, report)
    _untie(network)
    _merge(wrapped)
    wrapped.base_model.unload()
    network.config.tie_word_embeddings = _are_tied(network)


def _merge(wrapped: Any) -> None:
    """Matrix by matrix in float32: peft's merging with a check would round the change to 16 bits, and then the sum."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            base: Any = module.get_base_layer()
            dtype = base.weight.dtype
            base.float()
            module.merge(safe_merge=True)  # which refuses what is not finite
            base.to(dtype)


def _untie(network: Any) -> None:
    """Give the output a matrix of its own where one adapter changes only one of two that are the same.

    Merged into a shared matrix, the change would reach the other side too, and nobody trained it so.
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
    """The layer inside of peft's, where there is one."""
    return layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer


def _check_config(peft: Any, adapter: Adapter) -> None:
    """Peft leaves out what it does not know, with a warning: the scores would be those of another adapter."""
    config = json.loads(adapter.config_file.read_text(encoding="utf-8"))
    known = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    unknown = sorted(key for key, value in config.items() if value and key not in known)
    if unknown:
        raise UnsupportedCheckpointError(
            f"The adapter {adapter.name!r} was saved by peft {config.get('peft_version', 'of another version')} with "
            f"{', '.join(unknown)}, which peft {peft.__version__} does not know. Use a newer peft."
        )


def _check_complete(adapter: Adapter, report: Any) -> None:
    """Peft leaves what is missing at its start, where it changes nothing, and only warns."""
    missing = sorted(name for name in report.missing_keys if f"{_OWN}." in name)
    for names, what in ((missing, "missing from its file"), (sorted(report.unexpected_keys), "not in its base")):
        if names:
            raise IncompleteCheckpointError(
                f"The adapter {adapter.name!r} does not fit {adapter.base!r}: {len(names)} parameters are {what}, such "
                f"as {names[0]}. Download or export it again, over the base that it was trained on."
            )
