"""Load the weights of a checkpoint onto its device, in the dtype of the model, and check that they are complete."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from qwen3_rerank_plugins._printable import logger, one_line, shown
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint
from qwen3_rerank_plugins.engine.checkpoints.lora import Adapter
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import refuse
from qwen3_rerank_plugins.engine.concurrency.lifetime import loading_alone
from qwen3_rerank_plugins.engine.loading.cpu_threads import threads_for, use_threads
from qwen3_rerank_plugins.engine.loading.dequantize import dequantizing_config, finish_quantized_weights
from qwen3_rerank_plugins.engine.loading.device_map import choose_map
from qwen3_rerank_plugins.engine.loading.lora_merge import check_peft, merge_adapter
from qwen3_rerank_plugins.engine.loading.placement import Placement, choose_placement, dtype_name, use_device
from qwen3_rerank_plugins.engine.loading.quantization import pack_int8_layers, quantize_layers
from qwen3_rerank_plugins.engine.loading.quiet import quiet_libraries
from qwen3_rerank_plugins.engine.loading.state_dict import is_unused_scale, read_state_dict
from qwen3_rerank_plugins.engine.memory import is_out_of_memory
from qwen3_rerank_plugins.engine.model.linear import pack_layers
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import RerankError, UnsupportedCheckpointError


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedModel:
    """A Qwen3ForCausalLM or Qwen3ForSequenceClassification in inference mode, and its placement."""

    causal_lm: Any
    placement: Placement

    @property
    def devices(self) -> list[torch.device]:
        """The devices of its parameters, in the order of the layers."""
        return list(dict.fromkeys(parameter.device for parameter in self.causal_lm.parameters()))

    def release_output_matrix(self) -> None:
        """Free the output matrix once its two rows were copied. A tied one stays: it is the input embeddings too."""
        if self.causal_lm.config.tie_word_embeddings or self.causal_lm.get_output_embeddings() is None:
            return
        self.causal_lm.lm_head = torch.nn.Identity()
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()


def load_model(settings: EngineSettings, checkpoint: Checkpoint, *, sharing: int = 1) -> LoadedModel:
    """Load the weights directly in their final dtype, and refuse an incomplete checkpoint.

    Weights to be quantized are read on the CPU in the dtype of their file, so neither the device nor a wider dtype ever
    holds all of them. The calling thread gets the model's device and number of threads, so let it run the batches too.
    Other threads keep theirs.

    Args:
        settings: the settings of one model.
        checkpoint: its files.
        sharing: how many models run on the device at the same time.

    Raises:
        IncompleteCheckpointError: a parameter is missing, unexpected, or has the wrong shape.
        UnsupportedCheckpointError: transformers or peft cannot read it, or it is not what its config says.
        SettingsError: the placement is not possible on this machine.
        MissingExtraError: a required library is not installed.
        Exception: torch's error if memory runs out; see `is_out_of_memory`.
    """
    placement = choose_placement(settings, checkpoint)
    if checkpoint.adapter:
        check_peft()
    use_device(placement.device)
    threads = threads_for(settings.threads, checkpoint.config, sharing)
    use_threads(threads.count)
    with loading_alone(), quiet_libraries():
        causal_lm = _read_weights(settings, checkpoint, placement)
        if checkpoint.adapter:
            _merge_adapter(causal_lm, checkpoint.adapter)
        causal_lm.eval().requires_grad_(False)
        if checkpoint.quantization:
            finish_quantized_weights(causal_lm, checkpoint.quantization, placement.device, placement.dtype)
        elif placement.quantization.name:
            quantize_layers(causal_lm, placement.quantization.name, placement.device, placement.dtype)
        if placement.kernels.name == "onednn":
            pack_layers(causal_lm)
        if placement.quantization.int8_products:
            pack_int8_layers(causal_lm)
    if settings.device_map:
        placement = dataclasses.replace(placement, device=causal_lm.get_input_embeddings().weight.device)
    logger.info(
        "loaded %s (commit %s%s) on %s (%s), %s (%s), kernels %s (%s), attention %s (%s), quantization %s (%s), "
        "%d thread(s) (%s)",
        checkpoint.name,
        checkpoint.commit or "none, a local folder",
        f", a LoRA adapter merged into {checkpoint.adapter.base}" if checkpoint.adapter else "",
        placement.device,
        placement.device_reason,
        dtype_name(placement.dtype),
        placement.dtype_reason,
        placement.kernels.name,
        placement.kernels.reason,
        placement.attention.name,
        placement.attention.reason,
        placement.quantization.name,
        placement.quantization.reason,
        threads.count,
        threads.reason,
    )
    return LoadedModel(causal_lm, placement)


def _read_weights(settings: EngineSettings, checkpoint: Checkpoint, placement: Placement) -> Any:
    from transformers import Qwen3Config

    architecture, auto = _classes(checkpoint)
    whole, on_cpu = placement.quantization.name is None, placement.device.type == "cpu"
    options: dict[str, Any] = {
        dtype_word(): placement.dtype if whole else "auto",
        "low_cpu_mem_usage": True,
        "ignore_mismatched_sizes": True,  # so that they are reported, and refused below by name
        "output_loading_info": True,
        "attn_implementation": "eager",  # never used; the config may name one whose code would be fetched from the hub
    }
    try:
        plain = whole and on_cpu and not (settings.trust_remote_code or settings.device_map or checkpoint.quantization)
        if plain or (checkpoint.quantization and checkpoint.quantization.method == "fp8"):
            config = Qwen3Config.from_pretrained(checkpoint.folder, local_files_only=True)
            if hasattr(config, "quantization_config"):
                del config.quantization_config  # the weights are dequantized by now
            state = read_state_dict(checkpoint, placement.dtype)
            if not on_cpu or settings.device_map:
                options["device_map"] = _device_map(settings, checkpoint, placement)
            loaded: Any = architecture.from_pretrained(None, config=config, state_dict=state, **options)
        else:
            if checkpoint.quantization:
                options["config"] = dequantizing_config(
                    checkpoint.folder, checkpoint.quantization, settings.trust_remote_code
                )
            loaded = auto.from_pretrained(
                checkpoint.folder,
                device_map=_device_map(settings, checkpoint, placement),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=settings.trust_remote_code,
                **options,
            )
    except Exception as error:  # each part of transformers raises its own types
        if isinstance(error, RerankError) or is_out_of_memory(error):
            raise
        raise UnsupportedCheckpointError(
            f"transformers cannot load {shown(checkpoint.name)}: {type(error).__name__}: {one_line(error)}. "
            "Download or export it again."
        ) from error
    causal_lm, report = loaded
    if settings.device_map:
        _remove_hooks(causal_lm)
    if not isinstance(causal_lm, architecture):
        raise UnsupportedCheckpointError(
            f"{shown(checkpoint.name)} loaded as {type(causal_lm).__name__}, not {architecture.__name__}. Load it "
            "without its own code: trust_remote_code=False."
        )
    _check_complete(checkpoint, report)
    return causal_lm


def _classes(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """Return the model class, and the auto class with which transformers finds trusted code in the checkpoint."""
    import transformers

    if checkpoint.classifies:
        return transformers.Qwen3ForSequenceClassification, transformers.AutoModelForSequenceClassification
    return transformers.Qwen3ForCausalLM, transformers.AutoModelForCausalLM


def _device_map(settings: EngineSettings, checkpoint: Checkpoint, placement: Placement) -> dict[str, Any] | None:
    """Return transformers' `device_map`; None means the CPU, but bitsandbytes needs it spelled out."""
    if settings.device_map:
        device_map = choose_map(checkpoint.folder, placement.dtype)
        logger.info("device_map=%r puts %s", settings.device_map, device_map.describe())
        return device_map.devices
    if placement.quantization.name is None and placement.device.type != "cpu":
        return {"": placement.device}
    return {"": "cpu"} if checkpoint.quantization else None


def _remove_hooks(causal_lm: Any) -> None:
    """Remove accelerate's hooks, which move the inputs of every module: the packed model does that per layer."""
    from accelerate.hooks import remove_hook_from_module

    remove_hook_from_module(causal_lm, recurse=True)


def _merge_adapter(causal_lm: Any, adapter: Adapter) -> None:
    try:
        merge_adapter(causal_lm, adapter)
    except RerankError:
        raise
    except Exception as error:  # peft raises various types
        if is_out_of_memory(error):
            raise
        raise UnsupportedCheckpointError(
            f"peft cannot merge the adapter {shown(adapter.name)} into {shown(adapter.base)}: {type(error).__name__}: "
            f"{one_line(error)}. Check that it was trained over that base, and download or export it again."
        ) from error


def _check_complete(checkpoint: Checkpoint, report: dict[str, Any]) -> None:
    """Refuse missing parameters: transformers fills them with random numbers and only warns."""
    for key, what in (
        ("missing_keys", "missing from the files"),
        ("unexpected_keys", "in the files but not in the model"),
        ("mismatched_keys", "of the wrong shape"),
    ):
        names = sorted(map(_describe, report.get(key) or ()))
        if checkpoint.quantization:
            names = [name for name in names if not is_unused_scale(name)]
        refuse(checkpoint.name, names, what)


def _describe(reported: str | tuple[str, torch.Size, torch.Size]) -> str:
    """Return a parameter that transformers reported: its name, and both shapes if they differ."""
    if isinstance(reported, str):
        return reported
    name, in_file, in_model = reported
    return f"{name}: {list(in_file)}, not {list(in_model)}"


def dtype_word() -> str:
    """Return the name of the dtype option: transformers renamed `torch_dtype` to `dtype` in 4.56."""
    import transformers

    major, minor = (int(number) for number in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"
