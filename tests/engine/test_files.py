"""What stands where a file of a checkpoint should be is told as what it is, and nothing blocks."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine import files as station
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.files import read_json
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.errors import CheckpointError, CheckpointNotFoundError, UnsupportedCheckpointError
from tests.cache import cache_with

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1234\n"
FILES = ("config.json", "tokenizer.json", "model.safetensors")
NOBODY = 65534


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, tmp_path / "checkpoint"))


def find(folder: Path) -> None:
    found = find_checkpoint(EngineSettings(model=str(folder)))
    PromptEncoder(found.tokenizer_file)


def put_socket(file: Path) -> None:
    # the name alone, because a socket's whole path may be too long
    with socket.socket(socket.AF_UNIX) as opened, contextlib.chdir(file.parent):
        opened.bind(file.name)


INSTEAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a git-lfs pointer": (
        lambda file: file.write_text(POINTER, encoding="utf-8"),
        "git-lfs pointer.*lfs pull",
    ),
    "a folder": (lambda file: file.mkdir(), "is a folder, not a file"),
    "a FIFO": (os.mkfifo, "is a FIFO, not a file"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), "is a device, not a file"),
    "a socket": (put_socket, "is a socket, not a file"),
    "a link to nothing": (
        lambda file: file.symlink_to("../../blobs/0123"),
        "link to '../../blobs/0123', which does not exist",
    ),
    "a link to itself": (lambda file: file.symlink_to(file), "leads back to itself"),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("what", INSTEAD)
def test_what_stands_in_place_of_a_file_is_told(what: str, file: str, copy: Path) -> None:
    put, message = INSTEAD[what]
    (copy / file).unlink()
    put(copy / file)
    with pytest.raises(CheckpointError, match=message):
        find(copy)


def test_an_index_and_a_shard_are_held_to_the_same(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model-1.safetensors")
    index = copy / "model.safetensors.index.json"
    index.write_text(POINTER, encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match=r"index\.json' of .* is a git-lfs pointer"):
        find(copy)
    index.write_text('{"weight_map": {"a": "model-1.safetensors"}}', encoding="utf-8")
    find(copy)
    (copy / "model-1.safetensors").unlink()
    (copy / "model-1.safetensors").symlink_to("nowhere")
    with pytest.raises(CheckpointNotFoundError, match=r"'model-1\.safetensors' of .* symbolic link to 'nowhere'"):
        find(copy)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    monkeypatch.setattr(station, "LARGEST_JSON", 1)
    with pytest.raises(UnsupportedCheckpointError, match="has 2 bytes"):
        read_json("a model", tmp_path / "config.json")


AS_NOBODY = """
import os, sys
from qwen3_rerank_plugins import Qwen3Reranker, RerankError
import huggingface_hub.errors
Qwen3Reranker("demo", device="cpu").rank("q", ["a"])  # imports everything: nobody may not read root's interpreter
os.setgroups([]), os.setgid({nobody}), os.setuid({nobody})
for model in {models!r}:
    try:
        Qwen3Reranker(model, device="cpu", cache_dir={cache!r}, local_files_only=True).rank("q", ["a"])
    except RerankError as error:
        print(type(error).__name__, error)
"""


def as_nobody(models: list[str], cache: str) -> list[str]:
    """What a user reads whom nothing belongs to: root may read everything, so that modes alone would show nothing."""
    program = AS_NOBODY.format(nobody=NOBODY, models=models, cache=cache)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_another_user_may_not_read_is_told_with_whose_it_is(open_folder: Path) -> None:
    closed: list[Path] = []
    for number, file in enumerate((*FILES, ".")):
        folder = Path(shutil.copytree(DEMO_FOLDER, open_folder / f"model-{number}"))
        (folder / file).chmod(0o700)
        closed.append((folder / file).resolve())
    cache = cache_with(DEMO_FOLDER, "someone/reranker", open_folder / "cache")
    snapshot = next(cache.glob("models--*/snapshots/*"))
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(exist_ok=True)
    for path in list(snapshot.iterdir()):
        if path.is_file() and not path.is_symlink():
            path.rename(blobs / path.name)
            path.symlink_to(blobs / path.name)
    blobs.chmod(0o700)
    closed.append(blobs)
    models = [*(str(open_folder / f"model-{number}") for number in range(4)), "someone/reranker"]
    told = as_nobody(models, str(cache))
    assert len(told) == len(closed)
    for line, path in zip(told, closed, strict=True):
        assert line.startswith("CheckpointNotFoundError ")
        assert "cannot be read: Permission denied. User " in line
        assert f"may not read {str(path)!r}, which belongs to 'root' and has mode 700. Check its permissions" in line


def test_who_may_not_look_is_told_where_the_system_says_so(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without root: the system's answer is a test's own."""

    def refuse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name == "config.json":
            raise PermissionError(13, "Permission denied")
        return os.stat(path, follow_symlinks=follow_symlinks)  # noqa: PTH116  the method is this one

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        patched.setattr(os, "access", lambda path, *_, **__: Path(path) != copy.resolve())
        with pytest.raises(CheckpointNotFoundError, match="User .* may not read '.*checkpoint'"):
            station.exists("a model", copy / "config.json")
