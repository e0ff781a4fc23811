"""A checkpoint from anywhere: its code does not run, its pickles are not read, and its index names no other file."""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import filter_repo_objects

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints import download as station
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError
from tests.optional import need
from tests.sealed import run_sealed

pytestmark = pytest.mark.slow

WAYS = {"straight from safetensors": None, "through transformers' own loading": "int8"}
"""Only unquantised weights on the CPU are read without transformers' own loading, which is what runs on every GPU."""

PLANT = """
import pathlib
pathlib.Path({marker!r}).write_text("it ran")
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
class PlantedConfig(Qwen3Config): pass
class PlantedModel(Qwen3ForCausalLM): pass
class PlantedTokenizer(PreTrainedTokenizerFast): pass
"""
AUTO_MAP = {
    "AutoConfig": "planted.PlantedConfig",
    "AutoModel": "planted.PlantedModel",
    "AutoModelForCausalLM": "planted.PlantedModel",
    "AutoTokenizer": ["planted.PlantedTokenizer", "planted.PlantedTokenizer"],
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The demo checkpoint, to be tampered with."""
    return Path(shutil.copytree(DEMO_FOLDER, tmp_path / "checkpoint"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that exists once planted code has run."""
    return tmp_path / "marker"


def change_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def plant_code(folder: Path, marker: Path) -> None:
    (folder / "planted.py").write_text(PLANT.format(marker=str(marker)), encoding="utf-8")
    for name in ("config.json", "tokenizer_config.json"):
        change_json(folder / name, auto_map=AUTO_MAP)


class Malicious:
    """Runs when it is unpickled: this one only makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def plant_pickle(folder: Path, marker: Path) -> Path:
    file = folder / "pytorch_model.bin"
    file.write_bytes(pickle.dumps({"model.norm.weight": Malicious(marker)}))
    return file


def rank(folder: Path, **options: Any) -> None:
    with Qwen3Reranker(str(folder), device="cpu", **options) as reranker:
        assert reranker.rank("a question", ["some text", "more of it"])


def in_a_process(folder: Path, quantization: str | None, **options: Any) -> str:
    options |= {"device": "cpu", "quantization": quantization}
    return (
        "from qwen3_rerank_plugins import Qwen3Reranker\n"
        f"print(len(Qwen3Reranker({str(folder)!r}, **{options!r}).rank('a question', ['text'])))"
    )


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def quantization(request: pytest.FixtureRequest) -> str | None:
    if request.param:
        need("bitsandbytes")
    return request.param


def test_the_planted_things_are_live(copy: Path, marker: Path, tmp_path: Path) -> None:
    """Where code is trusted or a pickle is read they do run: the tests below would see it."""
    pickle.loads(plant_pickle(copy, marker).read_bytes())
    assert marker.exists()
    marker.unlink()
    plant_code(copy, marker)
    run_sealed(in_a_process(copy, None, trust_remote_code=True), tmp_path)
    assert marker.exists()


def test_code_in_a_checkpoint_is_not_run(copy: Path, marker: Path, tmp_path: Path, quantization: str | None) -> None:
    plant_code(copy, marker)
    done = run_sealed(in_a_process(copy, quantization), tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert not marker.exists()
    assert not [path for path in done.opened if "planted" in path]
    assert done.attempts == []


def test_trusting_code_is_off_everywhere_unless_asked_for() -> None:
    assert EngineSettings().trust_remote_code is False
    assert Qwen3Reranker().settings.trust_remote_code is False
    assert inspect.signature(Qwen3Reranker).parameters["trust_remote_code"].default is False


@pytest.mark.parametrize("host", ["langchain", "llama_index"])
def test_trusting_code_is_off_in_an_adapter(host: str) -> None:
    need({"langchain": "langchain_core", "llama_index": "llama_index.core"}[host])
    adapter = __import__(f"qwen3_rerank_plugins.{host}", fromlist=["Qwen3Rerank"]).Qwen3Rerank
    assert adapter().trust_remote_code is False
    assert adapter()._reranker.settings.trust_remote_code is False


def test_trusting_code_is_off_on_the_command_line() -> None:
    need("typer")
    need("rich")
    from qwen3_rerank_plugins.cli.app import app

    options = [
        inspect.signature(command.callback).parameters for command in app.registered_commands if command.callback
    ]
    trusting = [found["trust_remote_code"].default for found in options if "trust_remote_code" in found]
    assert trusting
    assert not any(trusting)


def test_pickled_weights_alone_are_refused_and_never_opened(copy: Path, marker: Path, tmp_path: Path) -> None:
    plant_pickle(copy, marker)
    (copy / "model.safetensors").unlink()
    with pytest.raises(UnsupportedCheckpointError, match="pickled weights are not read"):
        rank(copy)
    done = run_sealed(in_a_process(copy, None), tmp_path)
    assert done.returncode == 1
    assert not [path for path in done.opened if path.endswith(".bin")]
    assert not marker.exists()


def test_a_pickled_adapter_is_refused_and_never_opened(marker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(DEMO_FOLDER)}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    plant_pickle(folder, marker).rename(folder / "adapter_model.bin")
    with pytest.raises(UnsupportedCheckpointError, match="pickled weights are not read"):
        rank(folder)
    done = run_sealed(in_a_process(folder, None), tmp_path)
    assert done.returncode == 1
    assert not [path for path in done.opened if path.endswith(".bin")]
    assert not marker.exists()


def test_pickled_weights_beside_safetensors_are_never_opened(
    copy: Path, marker: Path, tmp_path: Path, quantization: str | None
) -> None:
    plant_pickle(copy, marker)
    done = run_sealed(in_a_process(copy, quantization), tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert any(path.endswith("config.json") for path in done.opened)
    assert not [path for path in done.opened if path.endswith(".bin")]
    assert not marker.exists()


@pytest.mark.parametrize(
    "shard",
    ["pytorch_model.bin", "../other/model.safetensors", "/elsewhere/model.safetensors", "sub/m.safetensors", 3, None],
)
def test_an_index_that_names_anything_but_a_safetensors_file_beside_it_is_refused(
    shard: Any, copy: Path, marker: Path, quantization: str | None
) -> None:
    plant_pickle(copy, marker)
    (copy / "model.safetensors").rename(copy / "model-00001.safetensors")
    shards = {"model.embed_tokens.weight": "model-00001.safetensors", "model.norm.weight": shard}
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": shards}), encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match=r"names .*only \*\.safetensors files beside it are read"):
        rank(copy, quantization=quantization)
    assert not marker.exists()


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": ["b"]}}', "\ufeff{}"])
def test_a_broken_index_is_refused(index: str, copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model-00001.safetensors")
    (copy / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    message = r"index\.json of .* (is not valid JSON|is not a JSON object|is not an index of weights|names \"\['b'\]\")"
    with pytest.raises(UnsupportedCheckpointError, match=message):
        find_checkpoint(EngineSettings(model=str(copy)))


def test_an_index_beside_a_single_file_is_not_read(copy: Path) -> None:
    (copy / "model.safetensors.index.json").write_text("{", encoding="utf-8")
    rank(copy)


def test_only_safetensors_json_text_and_templates_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(_: str, **options: Any) -> str:
        asked.update(options)
        return str(DEMO_FOLDER)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    find_checkpoint(EngineSettings(model="someone/reranker"))
    assert asked["allow_patterns"] == station.FILE_PATTERNS
    welcome = ["model-00001-of-00005.safetensors", "config.json", "merges.txt", "chat_template.jinja"]
    refused = [
        *("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl", "training_args.bin", "tf_model.h5"),
        *("modeling_planted.py", "setup.sh", "lib.so", "model.gguf", "model.onnx", "flax_model.msgpack", "x.zip"),
    ]
    assert list(filter_repo_objects([*welcome, *refused], allow_patterns=asked["allow_patterns"])) == welcome
