"""A merged adapter scores as peft's own unmerged one, whatever it changes; what does not fit is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import IncompleteCheckpointError, UnsupportedCheckpointError
from tests.checkpoint_kinds import change_json, make_adapter, make_classifier
from tests.checkpoints import load_reference

YES, NO = 9693, 2152
IDS = torch.arange(1000, 1060)[None]
KINDS: dict[str, dict[str, Any]] = {
    "two matrices": {"target_modules": ["q_proj", "v_proj"]},
    "every matrix": {"target_modules": "all-linear"},
    "DoRA": {"target_modules": "all-linear", "use_dora": True},
    "rsLoRA": {"target_modules": ["k_proj"], "use_rslora": True},
    "PiSSA, which changes the base as well": {"target_modules": ["o_proj"], "init_lora_weights": "pissa"},
    "the output matrix": {"target_modules": ["q_proj", "lm_head"]},
    "the input matrix": {"target_modules": ["q_proj", "embed_tokens"]},
    "an output matrix of its own": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "an input matrix of its own": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "both": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "biases": {"target_modules": "all-linear", "lora_bias": True},
    "ranks and strengths of their own": {
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"v_proj": 2},
        "alpha_pattern": {"q_proj": 32},
    },
    "single tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [YES, NO]},
}


def load(folder: Path, **options: Any) -> Any:
    settings = EngineSettings(model=str(folder), device="cpu", **options)
    return load_model(settings, find_checkpoint(settings)).causal_lm


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    """Those of yes and no at the last position."""
    found: torch.Tensor = model(IDS).logits[0, -1, [YES, NO]]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["grouped", "untied"])
def test_it_is_the_same_function_as_pefts_unmerged_model(
    kind: str, shape: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    base, folder = checkpoint(shape), tmp_path / "adapter"
    expected = logits(make_adapter(base, folder, **KINDS[kind]))
    merged = load(folder)
    torch.testing.assert_close(logits(merged), expected, atol=1e-4, rtol=0)
    assert (logits(load_reference(base)) - expected).abs().max() > 0.1
    assert not [name for name, _ in merged.named_modules() if "lora" in name or "default" in name]
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    assert merged.config.tie_word_embeddings == (merged.lm_head.weight is merged.model.embed_tokens.weight)


RESIZED: dict[str, dict[str, Any]] = {
    "saved whole": {"target_modules": ["q_proj"]},
    "trained whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "with an adapter of their own": {"target_modules": ["q_proj", "embed_tokens"]},
}


@pytest.mark.parametrize("kind", RESIZED)
@pytest.mark.parametrize(("shape", "more"), [("grouped", 80), ("untied", 80), ("grouped", -100)])
def test_an_adapter_over_embeddings_that_were_resized_resizes_its_base(
    kind: str, shape: str, more: int, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    model = load_reference(checkpoint(shape))
    rows = model.get_input_embeddings().num_embeddings + more
    torch.manual_seed(3)
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(tmp_path / "resized")
    unmerged = make_adapter(tmp_path / "resized", tmp_path / "adapter", **RESIZED[kind])
    change_json(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path=str(checkpoint(shape)))
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    state = peft.get_peft_model_state_dict(unmerged, save_embedding_layers=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, file)
    merged = load(tmp_path / "adapter")
    assert merged.get_input_embeddings().num_embeddings == rows
    torch.testing.assert_close(logits(merged), logits(unmerged), atol=1e-4, rtol=0)


def test_an_adapter_over_resized_embeddings_that_lacks_the_new_rows_is_told_so(
    adapter: Path, checkpoint: Callable[[str], Path]
) -> None:
    row = torch.zeros(3, 64)
    rewrite(adapter, lambda tensors: tensors.update({"base_model.model.lm_head.weight": row}))
    with pytest.raises(IncompleteCheckpointError, match="embeddings of 3 rows .*save_embedding_layers=True"):
        load(adapter)


@pytest.mark.parametrize("changes", [{"r": 10**9}, {"r": -1}, {"r": "4"}, {"rank_pattern": {"q_proj": 10**9}}], ids=str)
def test_a_rank_that_the_weights_do_not_have_is_refused_before_anything_is_allocated(
    changes: dict[str, Any], adapter: Path
) -> None:
    change_json(adapter / "adapter_config.json", **changes)
    with pytest.raises(IncompleteCheckpointError, match=r"adapter_config\.json of .* says rank .* none above"):
        load(adapter)


def test_a_bias_for_the_output_is_refused_as_the_score_has_no_place_for_it(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    make_adapter(checkpoint("untied"), tmp_path / "adapter", target_modules=["lm_head"], lora_bias=True)
    with pytest.raises(UnsupportedCheckpointError, match=r"brings a bias for 'lm_head' \(lora_bias\)"):
        load(tmp_path / "adapter")


def test_in_16_bits_every_weight_is_rounded_once_where_pefts_checked_way_rounds_twice(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    base, folder = checkpoint("grouped"), tmp_path / "adapter"
    make_adapter(base, folder, target_modules="all-linear")
    ours = load(folder, dtype="bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = PeftModel.from_pretrained(load_reference(base, torch.bfloat16), folder)
        theirs = theirs.merge_and_unload(safe_merge=True)
    start = load_reference(base, torch.bfloat16)
    change = load_file(folder / "adapter_model.safetensors")
    errors = []
    for name, weight in start.named_parameters():
        if "proj" in name:
            key = f"base_model.model.{name.removesuffix('.weight')}"
            up, down = (change[f"{key}.lora_{half}.weight"].double() for half in "BA")
            exact = weight.double() + 2 * up @ down
            found, other = (model.get_parameter(name).double() for model in (ours, theirs))
            assert ((found - exact).abs() <= exact.abs() * 2**-8).all()  # half a step of bfloat16, at most
            errors.append(((found - exact).square().mean().sqrt(), (other - exact).square().mean().sqrt()))
    assert all(mine < peft for mine, peft in errors), errors


def test_an_adapter_over_a_classifier_brings_its_own_score_row(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    base = make_classifier(checkpoint("grouped"), tmp_path / "classifier")
    unmerged = make_adapter(
        base,
        tmp_path / "adapter",
        kind=AutoModelForSequenceClassification,
        task_type="SEQ_CLS",
        target_modules=["q_proj", "v_proj"],
    )
    merged = load(tmp_path / "adapter")
    with torch.inference_mode():
        torch.testing.assert_close(merged(IDS).logits, unmerged(IDS).logits, atol=1e-4, rtol=0)
    assert not torch.equal(merged.score.weight, load(base).score.weight)


@pytest.fixture
def adapter(checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    make_adapter(checkpoint("small"), tmp_path / "adapter", target_modules=["q_proj", "v_proj"])
    return tmp_path / "adapter"


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def test_a_parameter_that_is_missing_or_left_over_is_an_error_that_names_it(adapter: Path) -> None:
    rewrite(adapter, lambda tensors: tensors.update({"base_model.model.model.layers.9.x.weight": torch.zeros(1)}))
    with pytest.raises(IncompleteCheckpointError, match=r"1 parameters are not in its base, such as .*layers\.9\.x"):
        load(adapter)
    rewrite(adapter, lambda tensors: [tensors.pop(name) for name in list(tensors) if "lora_B" in name or "9.x" in name])
    with pytest.raises(IncompleteCheckpointError, match=r"2 parameters are missing from its file, such as .*lora_B"):
        load(adapter)


def test_an_adapter_for_another_shape_or_with_broken_numbers_is_refused(
    adapter: Path, checkpoint: Callable[[str], Path]
) -> None:
    rewrite(adapter, lambda tensors: [tensor.fill_(torch.nan) for tensor in tensors.values()])
    with pytest.raises(UnsupportedCheckpointError, match="peft cannot merge .*NaNs detected"):
        load(adapter)
    change_json(adapter / "adapter_config.json", base_model_name_or_path=str(checkpoint("ungrouped")))
    with pytest.raises(UnsupportedCheckpointError, match="(?s)peft cannot merge .*size mismatch"):
        load(adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"not a tensor in sight")
    with pytest.raises(IncompleteCheckpointError, match=r"'adapter_model\.safetensors' of .* is not a complete"):
        load(adapter)


def test_what_this_peft_does_not_know_is_an_error_and_never_left_out(adapter: Path) -> None:
    change_json(adapter / "adapter_config.json", use_something_newer=True, something_else=None, peft_version="9.0")
    with pytest.raises(UnsupportedCheckpointError, match=r"saved by peft 9\.0 with use_something_newer, which"):
        load(adapter)


def test_it_is_merged_before_the_layers_are_quantised(adapter: Path) -> None:
    plain, small = load(adapter), load(adapter, quantization="int8")
    layer = small.model.layers[0].self_attn.q_proj
    torch.testing.assert_close(
        layer.codes * layer.scales, plain.model.layers[0].self_attn.q_proj.weight, atol=0.02, rtol=0
    )
