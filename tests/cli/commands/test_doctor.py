"""`qwen3-rerank doctor`: what it knows, what it finds wrong, and what it leaves alone."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine import memory
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.loading import device_map
from qwen3_rerank_plugins.engine.loading.budget import Shape
from qwen3_rerank_plugins.engine.loading.shape import POSITIONS, PUBLISHED
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.errors import DeviceMemoryError, PassError
from tests.checkpoint_kinds import make_adapter, make_bitsandbytes, make_classifier
from tests.cli.conftest import MODEL, Run
from tests.doubles import OverlapScorer
from tests.optional import need

GIB = 2**30


def examined(run: Run, *arguments: str, code: int) -> dict[str, Any]:
    """The findings by name, and "failed"."""
    done = run("doctor", "--device", "cpu", "--json", *arguments)
    assert (done.exit_code, done.stderr) == (code, "")
    report = json.loads(done.stdout, parse_constant=pytest.fail)
    assert report["passed"] == (code == 0)
    assert report["failed"] == [finding["name"] for finding in report["findings"] if finding["passed"] is False]
    return {finding["name"]: finding for finding in report["findings"]} | {"failed": report["failed"]}


def test_all_is_well_with_the_demo(run: Run) -> None:
    found = examined(run, "--model", MODEL, code=0)
    assert found["torch"]["value"] == importlib.metadata.version("torch")
    assert [found[name]["value"] for name in ("device", "dtype", "attention")] == ["cpu", "float32", "sdpa"]
    assert found["attention"]["note"] == "flash attention needs a CUDA device, this is cpu"
    assert found["template"]["value"] == template_hash()
    assert found["answers"]["value"].keys() == {"yes", "no"}
    assert found["embeddings"]["value"] == "tied"
    assert found["memory needed"]["value"] == found["weights"]["value"] + found["largest pass"]["value"]
    assert found["sanity pair"]["value"]["relevant"] > 0.5 > found["sanity pair"]["value"]["irrelevant"]
    assert "not for quality" in found["sanity pair"]["note"]


def test_the_table_fits_80_columns_and_ends_with_the_verdict(run: Run) -> None:
    lines = run("doctor", "--model", MODEL).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "All is well."
    assert sum("✓" in line for line in lines) == 5
    assert not any("✗" in line for line in lines)


def test_the_8b_is_known_without_its_files_and_without_the_network(run: Run, tmp_path: Path) -> None:
    found = examined(run, "--cache-dir", str(tmp_path), "--dtype", "bfloat16", code=1)
    assert "checkpoint" in found["failed"]
    assert "hf download Qwen/Qwen3-Reranker-8B" in found["checkpoint"]["note"]
    assert found["size"]["value"] == 8_188_548_096
    assert found["embeddings"]["value"] == "untied"
    assert found["positions"]["value"] == 40_960
    assert found["weights"]["value"] == 2 * 8_188_548_096
    assert found["sanity pair"]["passed"] is None
    assert list(tmp_path.iterdir()) == []


def test_the_hub_is_asked_for_nothing_but_what_is_in_the_cache(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append(options)
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    examined(run, code=1)
    assert [options["local_files_only"] for options in asked] == [True]


def test_another_models_needs_are_not_guessed(run: Run, tmp_path: Path) -> None:
    found = examined(run, "--model", "someone/fine-tune", "--cache-dir", str(tmp_path), code=1)
    assert found["size"]["shown"] == "unknown"
    assert "weights" not in found
    assert "is not in the cache" in found["checkpoint"]["note"]


def test_a_model_that_does_not_fit_is_not_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 4 * GIB)
    monkeypatch.setattr(registry, "acquire", pytest.fail)
    found = examined(run, "--model", MODEL, "--max-batch-tokens", "10000000", code=1)
    assert found["failed"] == ["memory needed"]
    assert found["memory needed"]["note"] == "more than is free; published sizes that fit here: 0.6B"
    assert found["sanity pair"]["note"] == "the model would not fit in memory"


def test_a_device_that_is_not_there_is_a_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = examined(run, "--model", MODEL, "--device", "nonsense", code=1)
    assert found["failed"] == ["device"]
    assert "device='nonsense' is not usable here" in found["device"]["note"]
    assert found["checkpoint"]["passed"] is True


def test_quantised_weights_are_counted_as_they_will_be_and_the_mode_says_what_it_is(run: Run) -> None:
    need("bitsandbytes")
    plain = examined(run, "--model", MODEL, code=0)
    assert (plain["quantization"]["value"], plain["quantization"]["shown"]) == (None, "none")
    small = examined(run, "--model", MODEL, "--quantization", "int8", code=0)
    assert small["quantization"]["value"] == "int8"
    assert "saves memory, not time" in small["quantization"]["note"]
    assert small["weights"]["value"] < plain["weights"]["value"]
    assert small["sanity pair"]["passed"]


def test_several_devices_have_sections_of_their_own_and_replicas_on_one_are_counted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(*arguments: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
        done = run("doctor", "--json", "--model", MODEL, *arguments)
        findings = json.loads(done.stdout)["findings"]
        return done.exit_code, {(finding["section"], finding["name"]): finding for finding in findings}

    code, alone = report("--devices", "cpu")
    assert code == 0
    code, both = report("--devices", "cpu,cpu")
    assert code == 0
    assert both["machine", "device"]["note"] == "asked for, 2 replicas"
    assert both["memory", "weights"]["value"] == 2 * alone["memory", "weights"]["value"]
    assert both["scores", "sanity pair"]["passed"]
    monkeypatch.setattr(memory, "free_memory", lambda device: alone["memory", "weights"]["value"] * 3 // 2)
    code, crowded = report("--devices", "cpu,cpu", "--max-batch-tokens", "1")
    assert code == 1
    assert crowded["memory", "memory needed"]["passed"] is False
    code, broken = report("--devices", "cpu,cuda:7")
    assert code == 1
    assert broken["machine cpu", "device"]["passed"]
    assert "device='cuda:7' is not usable here" in broken["machine cuda:7", "device"]["note"]
    assert broken["scores", "sanity pair"]["note"] == "not every device is there"


def test_doctor_warms_every_replica_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cold(OverlapScorer):
        def warmup(self) -> None:
            raise PassError("the second one is broken")

    monkeypatch.setattr(registry, "acquire", lambda settings, user: Cold())
    assert examined(run, "--model", MODEL, code=1)["sanity pair"]["note"] == "the second one is broken"


def test_a_spread_model_is_shown_before_it_is_loaded(run: Run, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    def examined_with(free: int, code: int) -> dict[str, Any]:
        gpus = {torch.device("cuda", 0): 3 * GIB, torch.device("cuda", 1): 4 * GIB}
        monkeypatch.setattr(device_map, "choose_map", lambda *_: device_map.DeviceMap({"model.layers.0": 0}, gpus))
        monkeypatch.setattr(memory, "free_memory", lambda device: free)
        done = run("doctor", "--json", "--model", MODEL, "--device-map", "auto")
        assert done.exit_code == code, done.stdout
        found = json.loads(done.stdout)["findings"]
        return {f"{finding['section']}, {finding['name']}": finding for finding in found}

    fine = examined_with(9 * GIB, 0)
    assert fine["memory, device map"]["value"] == ["cuda:0", "cuda:1"]
    assert fine["memory, device map"]["note"] == "layers 0-0 on cuda:0"
    assert [fine[f"memory cuda:{gpu}, weights"]["value"] for gpu in (0, 1)] == [3 * GIB, 4 * GIB]
    small = examined_with(4 * GIB, 1)
    assert small["memory cuda:0, memory needed"]["passed"]
    assert small["memory cuda:1, memory needed"]["passed"] is False


def test_a_model_that_no_gpus_hold_together_is_a_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose_map(*_: object) -> None:
        raise DeviceMemoryError("no room for 3.0 of 9.0 GiB")

    monkeypatch.setattr(device_map, "choose_map", choose_map)
    done = run("doctor", "--json", "--model", MODEL, "--device-map", "auto")
    assert (done.exit_code, json.loads(done.stdout)["failed"]) == (1, ["device map"])


def test_a_quantization_that_cannot_run_here_is_a_finding(run: Run) -> None:
    found = examined(run, "--model", MODEL, "--quantization", "fp8", code=1)
    assert found["failed"] == ["device"]
    assert "Use quantization='int8'" in found["device"]["note"]


def test_a_torch_that_cannot_be_imported_is_a_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = examined(run, "--model", MODEL, code=1)
    assert found["failed"] == ["device"]
    assert "torch" in found["device"]["note"]


def test_a_package_without_a_version_is_a_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert examined(run, "--model", MODEL, code=1)["failed"] == ["torch", "transformers", "tokenizers"]


def test_a_size_that_the_config_leaves_open_is_transformers_own_and_must_fit_the_weights(
    run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "terse"
    shutil.copytree(DEMO_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["num_key_value_heads"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = examined(run, "--model", str(folder), code=1)
    assert found["size"]["shown"] == "unknown"
    assert found["failed"] == ["checkpoint"]
    assert "no multiple of num_key_value_heads, 32" in found["checkpoint"]["note"]


def test_a_broken_tokenizer_is_a_finding(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(DEMO_FOLDER, folder)
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    found = examined(run, "--model", str(folder), code=1)
    assert found["failed"] == ["checkpoint"]
    assert "not a usable fast tokenizer" in found["checkpoint"]["note"]


def test_weights_that_tell_nothing_apart_are_a_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Indifferent(OverlapScorer):
        def submit(self, request: Any) -> Any:
            return super().submit(type(request)("", request.documents))

    monkeypatch.setattr(registry, "acquire", lambda settings, user: Indifferent())
    found = examined(run, "--model", MODEL, code=1)
    assert found["failed"] == ["sanity pair"]
    assert found["sanity pair"]["note"].startswith("not told apart")


def test_a_pass_that_breaks_is_a_finding(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "acquire", lambda settings, user: OverlapScorer(PassError("kernel\nbroke")))
    found = examined(run, "--model", MODEL, code=1)
    assert found["sanity pair"]["note"] == "kernel broke"


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_shapes_are_those_of_the_published_configs(name: str, data: Path) -> None:
    file = data / "configs" / f"{name.split('/')[1].lower()}.config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    assert Shape.from_config(config) == PUBLISHED[name]
    assert config["max_position_embeddings"] == POSITIONS


def test_the_published_shapes_have_the_published_numbers_of_parameters() -> None:
    assert [shape.parameters for shape in PUBLISHED.values()] == [595_776_512, 4_021_784_576, 8_188_548_096]


def test_an_adapter_is_examined_with_its_base_and_counted_while_it_is_merged(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("peft")
    make_adapter(DEMO_FOLDER, tmp_path / "adapter", target_modules=["q_proj"])
    plain = examined(run, "--model", MODEL, code=0)
    found = examined(run, "--model", str(tmp_path / "adapter"), "--max-batch-tokens", "1", code=0)
    assert found["adapter"]["value"] == str(DEMO_FOLDER)
    assert found["size"]["value"] == plain["size"]["value"]
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert found["memory needed"]["value"] >= found["weights"]["value"] + size
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = examined(run, "--model", str(tmp_path / "adapter"), code=1)
    assert found["failed"] == ["loading"]
    assert "pip install 'qwen3-rerank-plugins[lora]'" in found["loading"]["note"]
    assert found["sanity pair"]["note"] == "it cannot be loaded here"


def test_a_quantised_checkpoint_is_counted_as_it_will_be_in_memory(run: Run, tmp_path: Path) -> None:
    need("bitsandbytes")
    need("compressed_tensors")  # not with the lowest versions: transformers of that age makes none on a CPU
    folder = make_bitsandbytes(DEMO_FOLDER, tmp_path / "packed", load_in_8bit=True)
    found = examined(run, "--model", str(folder), code=0)
    same = examined(run, "--model", MODEL, "--quantization", "int8", code=0)
    assert (found["stored as"]["value"], found["weights"]["value"]) == ("bitsandbytes", same["weights"]["value"])
    assert found["sanity pair"]["passed"]
    found = examined(run, "--model", str(folder), "--quantization", "int4", code=1)
    assert "already quantized by bitsandbytes" in found["loading"]["note"]


def test_a_classifier_has_a_score_row_instead_of_an_output_matrix(run: Run, tmp_path: Path) -> None:
    found = examined(run, "--model", str(make_classifier(DEMO_FOLDER, tmp_path / "classifier")), code=0)
    assert found["output"]["shown"] == "1 score row(s)"
    assert "embeddings" not in found
    assert found["sanity pair"]["passed"]
