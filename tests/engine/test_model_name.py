"""Which model a name means: decided once, whatever happens to the working directory and to links later."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.model_name import ModelName, resolve_model
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, SettingsError
from tests.checkpoints import make_checkpoint
from tests.optional import need

QUERY, DOCUMENTS = "What is the capital of China?", ["The capital of China is Beijing.", "Gravity pulls."]
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}


def log_odds(reranker: Qwen3Reranker) -> list[float]:
    return [one.logit for one in sorted(reranker.rank(QUERY, DOCUMENTS), key=lambda one: one.index)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without links in its path."""
    close_all()
    place = (tmp_path / "here").resolve()
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="module")
def stranger(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that scores otherwise than the bundled one."""
    return make_checkpoint(tmp_path_factory.mktemp("stranger") / "model", tokenizer=DEMO_FOLDER, **SMALL)


@pytest.fixture(scope="module")
def own_scores(stranger: Path) -> list[float]:
    with Qwen3Reranker(str(stranger)) as reranker:
        return log_odds(reranker)


@pytest.fixture(scope="module")
def bundled_scores() -> list[float]:
    with Qwen3Reranker("demo") as reranker:
        return log_odds(reranker)


@pytest.mark.parametrize("first", ["demo", "./demo"])
def test_a_folder_named_demo_is_never_taken_for_the_bundled_checkpoint_nor_the_reverse(
    first: str, here: Path, stranger: Path, own_scores: list[float], bundled_scores: list[float]
) -> None:
    shutil.copytree(stranger, here / "demo")
    second = "./demo" if first == "demo" else "demo"
    rerankers = {name: Qwen3Reranker(name) for name in (first, second)}
    found = {name: log_odds(reranker) for name, reranker in rerankers.items()}
    assert found["demo"] == pytest.approx(bundled_scores, abs=1e-5)
    assert found["./demo"] == pytest.approx(own_scores, abs=1e-5)
    assert own_scores != pytest.approx(bundled_scores, abs=0.1)
    assert rerankers["demo"].settings != rerankers["./demo"].settings
    close_all()


@pytest.mark.parametrize("name", ["demo", "demo/", "./demo", Path("demo")], ids=repr)
def test_a_folder_named_demo_is_meant_by_every_spelling_but_the_bare_word(name: Any, here: Path) -> None:
    (here / "demo").mkdir()
    assert EngineSettings(model=name).model == ("demo" if name == "demo" else str(here / "demo"))
    assert EmbeddingSettings(model=name).model == str(here / "demo"), "that family has no bundled checkpoint"


@pytest.mark.parametrize(
    "spelling", ["model", "./model", "model/", "./model/.", "../here/model", "link", "~/model", Path("model")], ids=repr
)
def test_all_spellings_of_a_folder_share_one_engine_and_closing_leaves_none(
    spelling: Any, here: Path, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stranger, here / "model")
    (here / "link").symlink_to("model")
    monkeypatch.setenv("HOME", str(here))
    one, other = Qwen3Reranker(spelling), Qwen3Reranker(str(here / "model"))
    assert one._scorer() is other._scorer()
    one.close()
    other.close()
    assert registry._entries == {}


@pytest.mark.parametrize("spelling", ["model", "./model", "owner/name"])
def test_after_a_change_of_directory_the_same_folder_is_meant(
    spelling: str, here: Path, stranger: Path, own_scores: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stranger, here / spelling)
    cold, warm = Qwen3Reranker(spelling), Qwen3Reranker(spelling, max_batch_tokens=700)
    log_odds(warm)
    elsewhere = here / "elsewhere"
    shutil.copytree(DEMO_FOLDER, elsewhere / spelling)
    monkeypatch.chdir(elsewhere)
    for reranker in (cold, warm, pickle.loads(pickle.dumps(cold)), copy.deepcopy(cold)):
        assert log_odds(reranker) == pytest.approx(own_scores, abs=1e-5)
    cold.close()
    warm.close()
    assert registry._entries == {}


def test_a_hub_id_stays_one_when_a_folder_of_that_name_appears(here: Path, tmp_path: Path) -> None:
    made = EngineSettings(model="owner/name", local_files_only=True, cache_dir=str(tmp_path / "cache"), token="hf_a")
    shutil.copytree(DEMO_FOLDER, here / "owner" / "name")
    with Qwen3Reranker("owner/name") as later:
        assert later.settings.model == str(here / "owner/name")
    scorer = registry.acquire(made, later)
    scorer.renew_token("hf_b")  # type: ignore[attr-defined]
    for settings in (made, pickle.loads(pickle.dumps(made)), copy.deepcopy(made), scorer._settings):  # type: ignore[attr-defined]
        assert settings.model == "owner/name"
        with pytest.raises(CheckpointNotFoundError, match="is not in the cache"):
            find_checkpoint(settings)
    close_all()


def test_a_link_that_points_elsewhere_later_makes_no_second_engine(
    here: Path, stranger: Path, own_scores: list[float]
) -> None:
    (here / "current").symlink_to(stranger)
    reranker = Qwen3Reranker("./current")
    assert log_odds(reranker) == pytest.approx(own_scores, abs=1e-5)
    (here / "current").unlink()
    (here / "current").symlink_to(DEMO_FOLDER)
    assert log_odds(reranker) == pytest.approx(own_scores, abs=1e-5)
    reranker.close()
    assert registry._entries == {}


def test_a_folder_that_is_made_again_makes_no_second_engine(here: Path) -> None:
    folder = here / "model"
    shutil.copytree(DEMO_FOLDER, folder)
    reranker = Qwen3Reranker(str(folder))
    before = log_odds(reranker)
    shutil.rmtree(folder)
    assert log_odds(reranker) == before
    shutil.copytree(DEMO_FOLDER, folder)
    assert log_odds(reranker) == before
    assert len(registry._entries) == 1
    reranker.close()
    assert registry._entries == {}


def test_a_path_that_does_not_exist_yet_is_kept_as_a_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker = Qwen3Reranker("./later")
    with pytest.raises(CheckpointNotFoundError, match=rf"no folder '{here}/later'"):
        reranker.rank(QUERY, DOCUMENTS)
    shutil.copytree(DEMO_FOLDER, here / "later")
    monkeypatch.chdir(here.parent)
    assert reranker.rank(QUERY, DOCUMENTS)[0].index == 0
    reranker.close()


@pytest.mark.parametrize("cache", ["cache", "./cache", "~/cache", Path("cache")], ids=repr)
def test_the_cache_folder_is_meant_from_the_directory_in_which_the_settings_were_made(
    cache: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here))
    for make in (EngineSettings, EmbeddingSettings):
        assert make(model="owner/name", cache_dir=cache).cache_dir == str(here / "cache")


def test_the_base_of_an_adapter_is_meant_from_the_directory_in_which_the_settings_were_made(
    here: Path, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stranger, here / "bases" / "one")
    (here / "adapter").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "bases/one", "r": 4}
    (here / "adapter" / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    (here / "adapter" / "adapter_model.safetensors").touch()
    settings = EngineSettings(model="adapter")
    elsewhere = here / "elsewhere"
    shutil.copytree(DEMO_FOLDER, elsewhere / "bases" / "one")
    monkeypatch.chdir(elsewhere)
    for again in (settings, pickle.loads(pickle.dumps(settings))):
        assert find_checkpoint(again).folder == here / "bases" / "one"
    from_elsewhere = EngineSettings(model=str(here / "adapter"))
    assert find_checkpoint(from_elsewhere).folder == elsewhere / "bases" / "one"
    assert from_elsewhere != settings, "they are different models, and must not share an engine"
    assert settings == pickle.loads(pickle.dumps(settings))


def test_with_a_server_the_name_is_the_servers_whatever_folders_there_are(here: Path) -> None:
    (here / "model").mkdir()
    for name in ("model", "./model", "demo"):
        reranker = Qwen3Reranker(name, remote="http://localhost:1", template="server")
        assert reranker.settings.model == name
        assert reranker.remote is not None
        assert reranker.remote.model == name


@pytest.mark.parametrize("wrong", ["", " ", None, 3, "./a\0b", "/a\ud800", "~nobody-here/model"], ids=repr)
def test_a_name_that_can_mean_nothing_is_refused_by_name(wrong: Any) -> None:
    for make in (EngineSettings, EmbeddingSettings, Qwen3Reranker):
        with pytest.raises(SettingsError, match="model"):
            make(model=wrong)


def test_a_relative_path_is_refused_where_the_working_directory_is_gone(here: Path) -> None:
    here.rmdir()
    with pytest.raises(SettingsError, match="Pass an absolute path"):
        EngineSettings(model="./model")
    assert EngineSettings(model="owner/name").model == "owner/name"


def test_a_name_is_a_plain_string_in_json_and_equal_to_one() -> None:
    name = resolve_model("owner/name")
    assert json.dumps(name) == '"owner/name"'
    assert name == "owner/name"
    assert hash(name) == hash("owner/name")
    assert isinstance(pickle.loads(pickle.dumps(name)), ModelName)


def imported(adapter: str) -> Any:
    module, _, name = adapter.rpartition(".")
    need("langchain_core" if "langchain" in module else "llama_index.core")
    return getattr(importlib.import_module(f"qwen3_rerank_plugins.{module}"), name)


ADAPTERS = ["langchain.Qwen3Rerank", "langchain.Qwen3CrossEncoder", "llama_index.Qwen3Rerank"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_and_whatever_is_made_of_it_keeps_its_model_after_a_change_of_directory(
    adapter: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = imported(adapter)
    (here / "model").mkdir()
    adapters = [make(model="./model"), make(reranker=Qwen3Reranker("./model")), make(model="owner/name")]
    adapters.append(make(model="./model", reranker=Qwen3Reranker("model")))
    elsewhere = here / "elsewhere"
    for name in ("model", "owner/name"):
        (elsewhere / name).mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    for number, made in enumerate(adapters):
        expected = "owner/name" if number == 2 else str(here / "model")
        copies = [made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
        if made.reranker is None:
            copies.append(made.model_copy(update={"max_length": 999}))
        for one in copies:
            assert one._reranker.settings.model == one.model == expected
            assert one._reranker is one._reranker, "it is made once"
    again = make(**adapters[0].model_dump(include={"model", "cache_dir"}))
    assert again._reranker.settings.model == str(here / "model")
    again.model = "./model"
    assert again._reranker.settings.model == str(elsewhere / "model")
    assert again._reranker is again._reranker


@pytest.mark.parametrize("adapter", ["langchain.embeddings.Qwen3Embeddings", "llama_index.embedding.Qwen3Embedding"])
def test_embeddings_keep_their_model_after_a_change_of_directory(
    adapter: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "model").mkdir()
    local, hub = (imported(adapter)(model=model, cache_dir="cache") for model in ("./model", "owner/name"))
    elsewhere = here / "elsewhere"
    for name in ("model", "owner/name"):
        (elsewhere / name).mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    for made, expected in ((local, str(here / "model")), (hub, "owner/name")):
        for one in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made)), made.model_copy()):
            assert one._settings.model == expected
            assert one._settings.cache_dir == str(here / "cache")


def test_a_stage_of_ray_keeps_its_model_after_a_change_of_directory(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("ray")
    from qwen3_rerank_plugins.ray import Qwen3Rerank

    (here / "model").mkdir()
    stage = Qwen3Rerank("./model")
    monkeypatch.chdir(here.parent)
    assert stage._answerer.reranker.settings.model == str(here / "model")


_WATCHED = """
import os, sys, threading
from qwen3_rerank_plugins import Qwen3Reranker, _registry as registry
from qwen3_rerank_plugins.engine.concurrency import lifetime

reranker = Qwen3Reranker(sys.argv[1])
documents = ["The capital of China is Beijing.", "Gravity pulls."]
for _ in range(3):  # torch imports some of its parts with the first passes
    reranker.rank("capital of China?", documents)

seen = []
watching = False
def watch(event, arguments):
    if watching and (event in ("open", "import", "os.listdir", "os.scandir") or event.startswith("socket")):
        seen.append((event, arguments))
sys.addaudithook(watch)
for name in ("stat", "lstat", "readlink", "getcwd", "access"):  # no audit event tells of these
    def watched(*arguments, original=getattr(os, name), name=name, **options):
        if watching:
            seen.append((name, arguments))
        return original(*arguments, **options)
    setattr(os, name, watched)

held, over = threading.Event(), threading.Event()
def hold():
    with registry._lock, lifetime._loading:
        held.set()
        over.wait(60)
threading.Thread(target=hold, daemon=True).start()
held.wait()
watching = True
reranker.rank("capital of China?", documents)
reranker.score([("capital of China?", documents[0])])
watching = False
print(seen, over.is_set())
over.set()
"""


@pytest.mark.parametrize("model", ["demo", str(DEMO_FOLDER)], ids=["bundled", "folder"])
def test_a_warm_call_looks_at_no_file_and_waits_for_no_lock_of_the_process(model: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, model], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[] False", 0), done.stderr


def test_a_warm_embedding_takes_no_lock_of_the_process_and_looks_at_no_file(
    embedding_checkpoint: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("sentence_transformers")
    embeddings = imported("langchain.embeddings.Qwen3Embeddings")(model=str(embedding_checkpoint))
    before = embeddings.embed_query("a")
    looked: list[object] = []
    for name in ("realpath", "isdir", "lexists"):
        monkeypatch.setattr(os.path, name, lambda path, *_, **__: looked.append(path))
    answers: list[Any] = []
    with registry._lock:
        asking = threading.Thread(target=lambda: answers.append(embeddings.embed_query("a")), daemon=True)
        asking.start()
        asking.join(60)
        assert answers == [before]
        asking = threading.Thread(target=lambda: answers.append(asyncio.run(embeddings.aembed_query("a"))), daemon=True)
        asking.start()
        asking.join(60)
        assert answers == [before, before]
    assert looked == []
    close_all()
