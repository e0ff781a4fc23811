"""Settings and a checkpoint -> the modules, on their device, in their dtype.

Comes in: `EngineSettings`, `Checkpoint`. Goes out: `LoadedModel`.
Must not know: prompts, batches, scores.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from qwen3_rerank_plugins._printable import logger, one_line, shown
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint
from qwen3_rerank_plugins.engine.checkpoints.lora import Adapter
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import refuse
from qwen3_rerank_plugins.engine.checkpoints.weight_headers import read_inventory
from qwen3_rerank_plugins.engine.concurrency.lifetime import loading_alone
from qwen3_rerank_plugins.engine.loading.cpu_threads import threads_for, use_threads
from qwen3_rerank_plugins.engine.loading.dequantize import (
    FP8_SCALES,
    dequantizing_config,
    finish_quantized_weights,
    is_scale,
    turn_back_fp8,
)
from qwen3_rerank_plugins.engine.loading.device_map import choose_map
from qwen3_rerank_plugins.engine.loading.lora_merge import check_peft, merge_adapter
from qwen3_rerank_plugins.engine.loading.placement import Placement, choose_placement, dtype_name, use_device
from qwen3_rerank_plugins.engine.loading.quantization import quantize_layers
from qwen3_rerank_plugins.engine.loading.quiet import quiet_libraries
from qwen3_rerank_plugins.engine.memory import is_out_of_memory
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import (
    RerankError,
    UnsupportedCheckpointError,
)


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedModel:
    """A Qwen3ForCausalLM in inference mode, or its conversion for sequence classification, and its placement."""

    causal_lm: Any
    placement: Placement

    @property
    def devices(self) -> list[torch.device]:
        """Where its parameters are, in the order of the layers."""
        return list(dict.fromkeys(parameter.device for parameter in self.causal_lm.parameters()))

    def release_output_matrix(self) -> None:
        """Free the output matrix, once its two rows are taken; a tied one is the input's, and stays."""
        if self.causal_lm.config.tie_word_embeddings or self.causal_lm.get_output_embeddings() is None:
            return
        self.causal_lm.lm_head = torch.nn.Identity()
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()


def load_model(settings: EngineSettings, checkpoint: Checkpoint, *, sharing: int = 1) -> LoadedModel:
    """Load the weights straight in their dtype, and refuse a checkpoint that is not complete.

    To be quantised, they are read on the CPU in the dtype of their file: neither the device nor a wider dtype ever sees
    them whole. The calling thread is settled: its device and its number of threads are those of the model from then on,
    so let it run the passes as well. Other threads keep theirs.

    Args:
        settings: of one model.
        checkpoint: its files.
        sharing: how many models run on the device, at the same time.

    Raises:
        IncompleteCheckpointError: a parameter is missing, left over, or of the wrong shape.
        UnsupportedCheckpointError: transformers or peft cannot read it, or it is not what its config says.
        DeviceMemoryError or what torch says of it: there is not enough memory; see `is_out_of_memory`.
        SettingsError: the placement is impossible here.
        MissingExtraError: the library that it needs is not installed.
    """
    placement = choose_placement(settings, checkpoint.quantization)
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
    if settings.device_map:
        placement = dataclasses.replace(placement, device=causal_lm.get_input_embeddings().weight.device)
    logger.info(
        "loaded %s (commit %s%s) on %s (%s), %s (%s), attention %s (%s), quantization %s (%s), %d thread(s) (%s)",
        checkpoint.name,
        checkpoint.commit or "none, a local folder",
        f", a LoRA adapter merged into {checkpoint.adapter.base}" if checkpoint.adapter else "",
        placement.device,
        placement.device_reason,
        dtype_name(placement.dtype),
        placement.dtype_reason,
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
        "ignore_mismatched_sizes": True,  # they are reported then, and refused below with their names
        "output_loading_info": True,
        "attn_implementation": "eager",  # never used; the config may name one that is fetched from the hub as code
    }
    try:
        plain = whole and on_cpu and not (settings.trust_remote_code or settings.device_map or checkpoint.quantization)
        if plain or (checkpoint.quantization and checkpoint.quantization.method == "fp8"):
            config = Qwen3Config.from_pretrained(checkpoint.folder, local_files_only=True)
            if hasattr(config, "quantization_config"):
                del config.quantization_config  # they are turned back by now
            state = _convert_one_by_one(checkpoint, placement.dtype)
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
    except Exception as error:  # each part of transformers has its own
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
    """What it is made into, and the class by which transformers finds code of its own, if that is trusted."""
    import transformers

    if checkpoint.classifies:
        return transformers.Qwen3ForSequenceClassification, transformers.AutoModelForSequenceClassification
    return transformers.Qwen3ForCausalLM, transformers.AutoModelForCausalLM


def _device_map(settings: EngineSettings, checkpoint: Checkpoint, placement: Placement) -> dict[str, Any] | None:
    """In the words of transformers; None is the CPU, except to bitsandbytes."""
    if settings.device_map:
        device_map = choose_map(checkpoint.folder, placement.dtype)
        logger.info("device_map=%r puts %s", settings.device_map, device_map.describe())
        return device_map.devices
    if placement.quantization.name is None and placement.device.type != "cpu":
        return {"": placement.device}
    return {"": "cpu"} if checkpoint.quantization else None


def _remove_hooks(causal_lm: Any) -> None:
    """Of accelerate, which send the inputs of every module to its device: the packed pass follows the layers itself."""
    from accelerate.hooks import remove_hook_from_module

    remove_hook_from_module(causal_lm, recurse=True)


def _merge_adapter(causal_lm: Any, adapter: Adapter) -> None:
    try:
        merge_adapter(causal_lm, adapter)
    except RerankError:
        raise
    except Exception as error:  # peft has no kind of its own
        if is_out_of_memory(error):
            raise
        raise UnsupportedCheckpointError(
            f"peft cannot merge the adapter {shown(adapter.name)} into {shown(adapter.base)}: {type(error).__name__}: "
            f"{one_line(error)}. Check that it was trained over that base, and download or export it again."
        ) from error


def _convert_one_by_one(checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights in their new dtype, with no second copy beside them; those in fp8 are turned back.

    A mapped file counts as resident wherever it was read, until it is closed: so it is opened anew for every tensor.
    """
    inventory = read_inventory(checkpoint.name, checkpoint.weight_files)

    def read(name: str) -> torch.Tensor:
        from safetensors import safe_open

        with safe_open(inventory[name].file, framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
            return tensor

    state: dict[str, torch.Tensor] = {}
    stored = checkpoint.quantization
    scale_of: dict[str, str] = {}
    if stored:
        names = ((weight, f"{weight}{suffix}") for weight in inventory for suffix in FP8_SCALES)
        scale_of = {weight: name for weight, name in names if name in inventory}
    scales = set(scale_of.values())
    for name, tensor in inventory.items():
        if stored and (name in scales or is_scale(name)):
            continue
        weight = read(name)
        if stored and tensor.dtype.startswith("F8"):
            scale = read(scale_of[name]) if name in scale_of else None
            weight = turn_back_fp8(checkpoint.name, name, weight, scale, stored)
        state[name] = weight.to(dtype)
    return state


def _check_complete(checkpoint: Checkpoint, report: dict[str, Any]) -> None:
    """Transformers fills what is missing with random numbers and only warns; scores from those would be noise."""
    for key, what in (
        ("missing_keys", "missing from the files"),
        ("unexpected_keys", "in the files but not in the model"),
        ("mismatched_keys", "of the wrong shape"),
    ):
        names = sorted(map(_named, report.get(key) or ()))
        refuse(checkpoint.name, [name for name in names if not (checkpoint.quantization and is_scale(name))], what)


def _named(reported: str | tuple[str, torch.Size, torch.Size]) -> str:
    """A parameter as transformers reports it: by name, and where shapes differ, with that of the file and its own."""
    if isinstance(reported, str):
        return reported
    name, in_file, in_model = reported
    return f"{name}: {list(in_file)}, not {list(in_model)}"


def dtype_word() -> str:
    """Transformers renamed `torch_dtype` to `dtype` in 4.56."""
    import transformers

    major, minor = (int(number) for number in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"
