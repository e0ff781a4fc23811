"""A checkpoint is told by the content of its files, and a large file is read once."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.score_cache import weights_digest
from qwen3_rerank_plugins.engine.score_cache.weights_digest import checkpoint_digest, files_of, signatures_of
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.checkpoint_kinds import make_adapter
from tests.optional import need


class Memory:
    """Remembers digests, and counts how often one was found."""

    def __init__(self) -> None:
        self.digests: dict[tuple[str, str], bytes] = {}
        self.found = 0

    def known(self, file: str, signature: str) -> bytes | None:
        digest = self.digests.get((file, signature))
        self.found += digest is not None
        return digest

    def remember(self, file: str, signature: str, digest: bytes) -> None:
        self.digests[file, signature] = digest


def copy_of_demo(folder: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, folder))


def digest(folder: Path, memory: Memory | None = None) -> bytes:
    checkpoint = find_checkpoint(EngineSettings(model=str(folder)))
    memory = memory or Memory()
    return checkpoint_digest(checkpoint, files_of(checkpoint), memory.known, memory.remember)


def change_last_byte(file: Path) -> None:
    """Keep the file's size, inode and modification time."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        (last,) = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_path_of_a_checkpoint_does_not_count(tmp_path: Path) -> None:
    assert digest(copy_of_demo(tmp_path / "one")) == digest(copy_of_demo(tmp_path / "other" / "name"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_each_file_counts(name: str, tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "demo")
    before = digest(folder)
    if name == "model.safetensors":
        change_last_byte(folder / name)
    else:
        (folder / name).write_text((folder / name).read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert digest(folder) != before


def test_the_code_of_a_checkpoint_counts_and_its_card_does_not(tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "demo")
    before = digest(folder)
    (folder / "README.md").write_text("another card", encoding="utf-8")
    assert digest(folder) == before
    (folder / "modeling.py").write_text("pass", encoding="utf-8")
    assert digest(folder) != before


def test_the_weights_and_the_config_of_an_adapter_count(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    need("peft")
    base, folder = checkpoint("grouped"), tmp_path / "adapter"
    make_adapter(base, folder)
    digests = {digest(base), digest(folder)}
    change_last_byte(folder / "adapter_model.safetensors")
    digests.add(digest(folder))
    config = folder / "adapter_config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert len({*digests, digest(folder)}) == 4


def test_a_weight_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, memory = copy_of_demo(tmp_path / "demo"), Memory()
    monkeypatch.setattr(weights_digest, "_SETTLED", -1.0)
    before = digest(folder, memory)
    assert len(memory.digests) == 1
    assert digest(folder, memory) == before
    assert memory.found == 1
    time.sleep(0.05)  # more than a tick of the clock that the file system uses
    change_last_byte(folder / "model.safetensors")
    assert digest(folder, memory) != before
    assert memory.found == 1


def test_the_digest_of_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    memory = Memory()
    digest(copy_of_demo(tmp_path / "demo"), memory)
    assert memory.digests == {}


def test_a_change_while_the_file_is_read_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, memory = copy_of_demo(tmp_path / "demo"), Memory()
    monkeypatch.setattr(weights_digest, "_SETTLED", -1.0)
    read = weights_digest._read

    def read_and_change(file: Path) -> bytes:
        found = read(file)
        if file.name == "model.safetensors":
            time.sleep(0.05)
            change_last_byte(file)
        return found

    monkeypatch.setattr(weights_digest, "_read", read_and_change)
    digest(folder, memory)
    assert memory.digests == {}


def test_the_file_system_shows_a_change_that_keeps_size_and_time(tmp_path: Path) -> None:
    folder = copy_of_demo(tmp_path / "demo")
    files = files_of(find_checkpoint(EngineSettings(model=str(folder))))
    before = signatures_of(files)
    time.sleep(0.05)
    change_last_byte(folder / "model.safetensors")
    changed = {name for name, signature in signatures_of(files).items() if signature != before[name]}
    assert changed == {"model.safetensors"}


def test_every_shard_counts(tmp_path: Path) -> None:
    """Shards of one size in different folders may have one name."""
    one, other = tmp_path / "model" / "a" / "w.safetensors", tmp_path / "model" / "b" / "w.safetensors"
    for file in (one, other):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights")
    sharded = Checkpoint("name", tmp_path / "model", None, {}, weight_files=(one, other))
    assert set(files_of(sharded).values()) == {one, other}
    assert set(files_of(dataclasses.replace(sharded, weight_files=(one,))).values()) == {one}
