"""The identity of an engine: equal for equal engines in every process, different whenever scores may differ."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.score_cache import identity as module
from qwen3_rerank_plugins.engine.score_cache import weights_digest
from qwen3_rerank_plugins.engine.score_cache.file_store import FileStore
from qwen3_rerank_plugins.engine.score_cache.identity import EngineIdentity
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import SettingsError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    made = FileStore(tmp_path / "scores.db", 2**20)
    yield made
    made.close()


def identity_of(
    store: FileStore,
    folder: Path = DEMO_FOLDER,
    *,
    settings: str = "",
    predict: Callable[[int], str] = lambda _: "cpu, float32",
    replicas: int = 1,
) -> EngineIdentity:
    made = EngineIdentity(settings, replicas, predict, store)
    made.opened(find_checkpoint(EngineSettings(model=str(folder))))
    return made


def test_equal_engines_have_one_identity_wherever_their_files_are(store: FileStore, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "copy"))
    found = identity_of(store).current()
    assert found is not None
    assert identity_of(store, copy).current() == found


def test_placement_settings_versions_and_weights_each_change_it(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "copy"))
    (copy / "config.json").write_text((copy / "config.json").read_text(encoding="utf-8") + " ", encoding="utf-8")
    found = [
        identity_of(store).current(),
        identity_of(store, copy).current(),
        identity_of(store, settings="compile=True").current(),
        identity_of(store, predict=lambda _: "cpu, bfloat16").current(),
        identity_of(store, predict=["cpu", "cuda"].__getitem__, replicas=2).current(),
    ]
    monkeypatch.setattr(module, "__version__", "another")
    found.append(identity_of(store).current())
    assert None not in found
    assert len(set(found)) == len(found)


def test_several_devices_of_one_kind_share_their_scores_with_one(store: FileStore) -> None:
    assert identity_of(store, replicas=3).current() == identity_of(store).current()


def test_the_placement_that_was_loaded_replaces_the_predicted_one(store: FileStore) -> None:
    identity = identity_of(store)
    predicted = identity.current()
    identity.loaded(0, "cpu, float32")
    assert identity.current() == predicted
    identity.loaded(0, "cpu, float32, other kernels")
    assert identity.current() == identity_of(store, predict=lambda _: "cpu, float32, other kernels").current()
    assert identity.current() != predicted


def test_a_placement_is_predicted_once(store: FileStore) -> None:
    asked: list[int] = []

    def predict(replica: int) -> str:
        asked.append(replica)
        return "cpu"

    identity = identity_of(store, predict=predict, replicas=2)
    identity.current()
    identity.loaded(0, "cpu")
    identity.current()
    assert asked == [0, 1]


def test_a_device_that_is_not_there_leaves_the_error_to_the_load(store: FileStore) -> None:
    def predict(_: int) -> str:
        raise SettingsError("no such device")

    assert identity_of(store, predict=predict).current() is None


@pytest.mark.parametrize("when", ["before the first request", "while it is loaded"])
def test_files_that_change_before_the_weights_are_loaded_switch_the_cache_off(
    when: str, store: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "copy"))
    identity = identity_of(store, copy)
    if when == "while it is loaded":
        assert identity.current() is not None
    time.sleep(0.05)  # more than a tick of the clock that the file system uses
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content)
    if when == "while it is loaded":
        identity.loaded(0, "cpu, float32")
    assert identity.current() is None
    assert identity.current() is None
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "changed while it was loaded" in record.getMessage()


def test_files_that_vanish_while_they_are_found_switch_the_cache_off(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(_: object) -> dict[str, str]:
        raise FileNotFoundError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(module, "signatures_of", vanish)
        identity = identity_of(store)
    assert identity.current() is None


def test_a_library_without_metadata_has_an_unknown_version(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIBRARIES", ("no_such_library",))
    assert identity_of(store).current() is not None


def test_files_that_are_gone_switch_the_cache_off(store: FileStore, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "copy"))
    identity = identity_of(store, copy)
    shutil.rmtree(copy)
    assert identity.current() is None


def test_the_weights_are_read_once_on_a_machine(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = weights_digest._read
    monkeypatch.setattr(weights_digest, "_SETTLED", -1.0)
    monkeypatch.setattr(weights_digest, "_read", lambda file: (read.append(file.name), original(file))[1])
    first = identity_of(store).current()
    assert identity_of(store).current() == first
    assert read.count("model.safetensors") == 1


def test_a_cache_that_is_switched_off_reads_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path, 2**20)  # a folder
    store.get([b"key"])
    monkeypatch.setattr(weights_digest, "_read", lambda _: pytest.fail("read"))
    assert identity_of(store).current() is None
