"""Quantization: the layers get smaller, the scores stay close, everything else stays as it was, and what cannot be is
refused with what to use instead."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from benchmarks.quantization import compare, measure_quantization, spearman
from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.loading import quantization
from qwen3_rerank_plugins.engine.loading.budget import Shape
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.loading.quantization import Int4Linear, Int8Linear, choose_quantization
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.settings import EngineSettings, Quantization
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
LARGEST_DIFFERENCE = {"int8": 0.12, "int4": 0.6}
"""In log-odds, on the demo checkpoint, whose clear cases are 3 to 6 apart; about twice what was measured."""
CASES = {
    "What is the capital of China?": [
        "The capital of China is Beijing.",
        "Gravity pulls two bodies towards each other.",
        "Bread rises because yeast makes gas in the dough.",
    ],
    "How do bees make honey?": [
        "Bees make honey from nectar: they fan their wings until most of the water is gone.",
        "The night train to the coast was cancelled because of repairs on a bridge.",
    ],
}
on_the_cpu = pytest.mark.parametrize("mode", LARGEST_DIFFERENCE)


def load(mode: Quantization | None, model: str | Path = "demo", **options: Any) -> Any:
    settings = EngineSettings(model=str(model), device="cpu", quantization=mode, **options)
    return load_model(settings, find_checkpoint(settings)).causal_lm


def log_odds(**options: Any) -> list[float]:
    reranker = Qwen3Reranker("demo", device="cpu", **options)
    ranked = [reranker.rank(query, documents) for query, documents in CASES.items()]
    reranker.close()
    assert [one[0].index for one in ranked] == [0] * len(CASES)
    return [found.logit for one in ranked for found in sorted(one, key=lambda found: found.index)]


def capability(monkeypatch: pytest.MonkeyPatch, major: int, minor: int) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (major, minor))


def install(monkeypatch: pytest.MonkeyPatch, name: str, module: types.ModuleType | None) -> None:
    if module is not None:
        module.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]


@on_the_cpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_clear_cases_keep_their_order_and_log_odds_stay_close_to_float32(mode: Any, dtype: Any) -> None:
    reference = torch.tensor(log_odds(dtype="float32"))
    moved = (torch.tensor(log_odds(dtype=dtype, quantization=mode)) - reference).abs().max().item()
    assert 0 < moved < LARGEST_DIFFERENCE[mode]


@on_the_cpu
def test_embeddings_norms_and_head_rows_are_bit_identical(mode: Any) -> None:
    plain, small = load(None), load(mode)
    kept = dict(small.named_parameters())
    assert {name.rsplit(".", 2)[-2] for name in kept} == {
        "embed_tokens", "input_layernorm", "post_attention_layernorm", "q_norm", "k_norm", "norm"
    }  # fmt: skip
    assert all(torch.equal(parameter, plain.get_parameter(name)) for name, parameter in kept.items())
    assert small.get_output_embeddings().weight is small.get_input_embeddings().weight
    encoder = PromptEncoder(DEMO_FOLDER / "tokenizer.json")
    heads = [YesNoHead(model, encoder.yes_id, encoder.no_id) for model in (plain, small)]
    assert torch.equal(heads[0]._direction, heads[1]._direction)


@on_the_cpu
def test_an_untied_output_matrix_is_left_alone(mode: Any, checkpoint: Any) -> None:
    plain, small = load(None, checkpoint("untied")), load(mode, checkpoint("untied"))
    assert torch.equal(plain.lm_head.weight, small.lm_head.weight)
    assert type(small.lm_head) is torch.nn.Linear


@on_the_cpu
@pytest.mark.parametrize("shape", ["grouped", "untied"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_is_smaller_and_to_the_byte_what_the_budget_predicts(
    mode: Any, shape: str, dtype: Any, checkpoint: Any
) -> None:
    model = load(mode, checkpoint(shape), dtype=dtype)
    scales = [buffer for name, buffer in model.named_buffers() if name.endswith(("codes", "scales"))]
    resident = sum(tensor.nbytes for tensor in [*model.parameters(), *scales])
    sizes = Shape.from_config(model.config.to_dict())
    assert resident == sizes.weight_bytes(getattr(torch, dtype), mode)
    assert resident < sizes.weight_bytes(getattr(torch, dtype))


@on_the_cpu
def test_what_is_not_quantised_is_in_the_dtype_asked_for_and_scales_stay_float32(mode: Any) -> None:
    model = load(mode, dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for name, buffer in model.named_buffers() if "codes" not in name} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("layer", "error"), [(Int8Linear, 0.01), (Int4Linear, 0.1)])
def test_a_layer_is_its_linear_layer_but_for_rounding_and_a_row_does_not_depend_on_its_company(
    layer: type[torch.nn.Module], error: float
) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(192, 96)
    with torch.no_grad():
        linear.weight[7] = 0  # no largest weight to scale by
    small, hidden = layer(linear), torch.randn(20, 192)
    with torch.inference_mode():
        wanted, got = linear(hidden), small(hidden)
        assert torch.equal(got[:, 7], linear.bias[7].expand(20))
        assert (got - wanted).norm() < error * wanted.norm()
        torch.testing.assert_close(small(hidden[3:4]), got[3:4])
        assert small(hidden.bfloat16().float()).dtype == torch.float32


def test_int8_does_not_overflow_float16_where_the_linear_layer_does_not() -> None:
    linear = torch.nn.Linear(256, 1, bias=False)
    torch.nn.init.constant_(linear.weight, 0.01)
    hidden = torch.full((1, 256), 200.0, dtype=torch.float16)
    with torch.inference_mode():
        assert Int8Linear(linear)(hidden).item() == pytest.approx(512, rel=0.01)


@pytest.mark.slow
@on_the_cpu
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler warns about torch
def test_compiled_layers_give_the_same_scores(mode: Any) -> None:
    assert log_odds(quantization=mode, compile=True) == pytest.approx(log_odds(quantization=mode), abs=1e-4)


def test_fp8_is_refused_on_the_cpu_with_what_to_use() -> None:
    with pytest.raises(SettingsError, match=r"fp8.*compute capability 8\.9.*Use quantization='int8'"):
        choose_placement(EngineSettings(device="cpu", quantization="fp8"))
    with pytest.raises(SettingsError, match="fp8"):
        Qwen3Reranker("demo", device="cpu", quantization="fp8").rank("q", ["d"])


def test_fp8_on_cuda_goes_by_the_compute_capability_and_the_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "torchao", types.ModuleType("torchao"))
    capability(monkeypatch, 8, 9)
    assert choose_quantization("fp8", CUDA, torch.bfloat16).name == "fp8"
    with pytest.raises(SettingsError, match="dtype='bfloat16'"):
        choose_quantization("fp8", CUDA, torch.float16)
    capability(monkeypatch, 8, 6)
    with pytest.raises(SettingsError, match=r"8\.9"):
        choose_quantization("fp8", CUDA, torch.bfloat16)


def test_fp8_hands_each_layer_to_torchao_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchao itself refuses to do it without such a device; only what it is asked to do can be tested here."""
    asked: list[torch.nn.Module] = []
    fake: Any = types.ModuleType("torchao.quantization")
    fake.PerRow = fake.Float8DynamicActivationFloat8WeightConfig = lambda **options: options
    fake.quantize_ = lambda layer, config: asked.append(layer)
    monkeypatch.setitem(sys.modules, "torchao", types.ModuleType("torchao"))
    monkeypatch.setitem(sys.modules, "torchao.quantization", fake)
    model = load(None)
    quantization.quantize_layers(model, "fp8", CPU, torch.bfloat16)
    assert asked == list(model.model.layers)


@on_the_cpu
def test_a_device_nobody_has_tried_is_refused(mode: Any) -> None:
    with pytest.raises(SettingsError, match="not available on mps.*device='cpu'"):
        choose_quantization(mode, torch.device("mps"), torch.float16)


@pytest.mark.parametrize(
    ("mode", "package", "extra"),
    [
        ("int8", "bitsandbytes", "quantization"),
        ("int4", "bitsandbytes", "quantization"),
        ("fp8", "torchao", "fp8"),
    ],
)
def test_a_missing_library_is_an_error_that_names_the_extra(
    mode: Any, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, package, None)
    capability(monkeypatch, 9, 0)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*\[{extra}\]"):
        choose_quantization(mode, CUDA, torch.bfloat16)


def test_engines_that_differ_in_quantization_are_not_shared() -> None:
    user = object.__new__(type("User", (), {}))
    modes = (None, *get_args(Quantization))
    engines = [registry.acquire(EngineSettings(model="demo", quantization=mode), user) for mode in modes]
    assert len({id(engine) for engine in engines}) == len(modes)
    assert registry.acquire(EngineSettings(model="demo", quantization="int8"), user) is engines[1]
    close_all()


def fresh(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_who_does_not_quantise_imports_no_library_for_it() -> None:
    program = (
        "import sys; from qwen3_rerank_plugins import Qwen3Reranker; from qwen3_rerank_plugins.cli.loading import *\n"
        "with quiet_libraries(): Qwen3Reranker('demo', device='cpu', quantization=MODE).score([('q', 'd')])\n"
        "print('bitsandbytes' in sys.modules, 'kernels' in sys.modules)"
    )
    done = fresh(program.replace("MODE", "None"))
    assert (done.stdout, done.stderr) == ("False False\n", "")
    done = fresh(program.replace("MODE", "'int4'"))
    assert (done.stdout, done.stderr) == ("True False\n", "")  # it would write a line about a package it misses


@pytest.mark.slow
def test_the_library_fetches_no_kernel_from_the_hub_and_kernels_is_there_afterwards(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("def get_kernel(*a, **k): print('fetched')\n", encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import BEFORE; before = sys.modules.get('kernels')\n"
        "from qwen3_rerank_plugins.engine.loading.quantization import _bitsandbytes; _bitsandbytes(); _bitsandbytes()\n"
        "import kernels; print(kernels.get_kernel.__name__, before in (None, kernels))"
    )
    for before in ("kernels", "os"):
        done = fresh(program.replace("BEFORE", before))
        assert (done.stdout, done.stderr) == ("get_kernel True\n", "")


def test_the_study_measures_what_runs_and_says_why_the_rest_does_not() -> None:
    steps: list[str] = []
    pairs = [(query, document) for query, documents in CASES.items() for document in documents]
    study = measure_quantization(DEMO_FOLDER, "demo", pairs, device="cpu", rounds=1, tell=steps.append)
    assert [figures.mode for figures in study.modes] == [None, "int8", "int4", "fp8"]
    assert (study.queries, study.pairs, study.dtype) == (2, 5, "float32")
    plain, *small, refused = study.modes
    assert plain.weight_bytes
    assert plain.faithfulness
    assert plain.faithfulness.largest_difference == 0
    for figures in small:
        assert figures.weight_bytes == figures.predicted_bytes
        assert figures.weight_bytes
        assert figures.weight_bytes < plain.weight_bytes
        assert figures.faithfulness
        assert 0 < figures.faithfulness.largest_difference < LARGEST_DIFFERENCE[str(figures.mode)]
        assert figures.speed
    assert "Use quantization='int8'" in str(refused.refused)
    assert steps


def test_rank_correlation_is_spearmans_query_by_query() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 400]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)  # scipy.stats.spearmanr
    assert (spearman([1, 1], [2, 2]), spearman([1, 1], [1, 2])) == (1, 0)
    found = compare([[1.0, 2.0], [5.0, 4.0], [0.0]], [[1.0, 2.5], [4.0, 5.0], [0.0]])
    assert (found.largest_difference, found.rank_correlation, found.lowest_rank_correlation) == (1, 0, -1)
    assert found.mean_difference == pytest.approx(0.5)
