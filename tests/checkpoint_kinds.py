"""Other kinds of checkpoints, made from a random one: classifiers, LoRA adapters, quantized weights.

Each as the library writes it that users have theirs from, so that its layout is seen and not assumed; fp8 is written by
hand, in the layout that transformers documents, as making it takes a GPU.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Qwen3Config, Qwen3ForSequenceClassification

from tests.checkpoints import load_reference

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
FP8_BLOCK = 128


def copy_tokenizer(base: Path, folder: Path) -> Path:
    for name in TOKENIZER:
        shutil.copy(base / name, folder / name)
    return folder


def change_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def make_classifier(base: Path, folder: Path, labels: Sequence[str] = ("LABEL_0",)) -> Path:
    """The conversion for sequence classification: the difference of the two rows, or both for two labels."""
    causal, id_of = load_reference(base), Tokenizer.from_file(str(base / "tokenizer.json")).token_to_id
    config = Qwen3Config.from_pretrained(base, num_labels=len(labels), pad_token_id=id_of("<|endoftext|>"))
    config.id2label, config.label2id = dict(enumerate(labels)), {label: index for index, label in enumerate(labels)}
    model = Qwen3ForSequenceClassification(config)
    model.model.load_state_dict(causal.model.state_dict())
    rows = {answer: causal.lm_head.weight[id_of(answer)].detach() for answer in ("yes", "no")}
    for index, label in enumerate(labels):
        model.score.weight.data[index] = rows.get(label.lower(), rows["yes"] - rows["no"])
    model.save_pretrained(folder)
    return copy_tokenizer(base, folder)


def make_adapter(
    base: Path, folder: Path, *, kind: type[Any] = AutoModelForCausalLM, seed: int = 1, **options: Any
) -> Any:
    """A LoRA adapter that moves every score, and the model that it was made over, unmerged."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(kind.from_pretrained(base).float(), LoraConfig(r=4, lora_alpha=8, **options))
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        wrapped.save_pretrained(folder)
    return wrapped.eval()


def make_bitsandbytes(base: Path, folder: Path, **options: Any) -> Path:
    """Packed by bitsandbytes, as transformers saves it."""
    packing = BitsAndBytesConfig(**options)
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=packing, device_map={"": "cpu"})
    model.save_pretrained(folder)
    return copy_tokenizer(base, folder)


def make_compressed(
    base: Path, folder: Path, *, bits: int, kind: str, group: int | None = None
) -> dict[str, torch.Tensor]:
    """Packed by compressed-tensors, scaled by the largest weight; returns the weights that the codes stand for."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )

    model = load_reference(base)
    strategy = "group" if group else "channel"
    weights = QuantizationArgs(num_bits=bits, type=kind, strategy=strategy, group_size=group, symmetric=True)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    apply_quantization_config(model, QuantizationConfig(config_groups={"layers": scheme}, ignore=["lm_head"]))
    largest, meant = 448 if kind == "float" else 2 ** (bits - 1) - 1, {}
    for name, module in model.named_modules():
        if hasattr(module, "weight_scale"):
            groups = module.weight.detach().unflatten(1, (-1, group or module.in_features))
            module.weight_scale.data = groups.abs().amax(-1) / largest
            codes = groups / module.weight_scale.data[..., None]
            codes = codes.to(torch.float8_e4m3fn).float() if kind == "float" else codes.round()
            meant[f"{name}.weight"] = (codes * module.weight_scale.data[..., None]).flatten(1)
    compressor = ModelCompressor.from_pretrained_model(model)
    assert compressor is not None
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(str(folder))
    copy_tokenizer(base, folder)
    return meant


def make_fp8(base: Path, folder: Path) -> dict[str, torch.Tensor]:
    """8-bit floats with a scale for every block of 128 x 128; returns the weights that they stand for."""
    shutil.copytree(base, folder)
    tensors, meant = load_file(base / "model.safetensors"), {}
    for name, weight in list(tensors.items()):
        if "proj" not in name:
            continue
        rows, columns = weight.shape
        scales = torch.empty(-(-rows // FP8_BLOCK), -(-columns // FP8_BLOCK))
        for row in range(len(scales)):
            for column in range(len(scales[0])):
                block = weight[row * FP8_BLOCK :, column * FP8_BLOCK :][:FP8_BLOCK, :FP8_BLOCK]
                scales[row, column] = block.abs().max() / 448
        spread = scales.repeat_interleave(FP8_BLOCK, 0)[:rows].repeat_interleave(FP8_BLOCK, 1)[:, :columns]
        tensors[name] = (weight / spread).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scales
        meant[name] = tensors[name].float() * spread
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    written = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "weight_block_size": [FP8_BLOCK] * 2,
        "activation_scheme": "dynamic",
    }
    change_json(folder / "config.json", quantization_config=written)
    return meant
