"""Fetching from the hub, and from its cache without it: a folder, or a clear word why there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from tests.cache import cache_with
from tests.hub_server import COMMIT, Manner, serve_hub
from tests.sealed import run_sealed


def find(folder: Path | str, **options: Any) -> Any:
    return find_checkpoint(EngineSettings(model=str(folder), **options))


@pytest.fixture
def copy(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("small")


def test_hf_hub_offline_is_honoured(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache")
    assert find("someone/reranker", cache_dir=str(cache)).commit == "0" * 40
    with pytest.raises(CheckpointNotFoundError, match="fetching is switched off .*HF_HUB_OFFLINE"):
        find("someone/other", cache_dir=str(cache))


def test_a_revision_is_looked_up_in_the_cache(copy: Path, tmp_path: Path) -> None:
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache", revision="v2")
    assert find("someone/reranker", cache_dir=str(cache), local_files_only=True, revision="v2").commit == "0" * 40
    with pytest.raises(CheckpointNotFoundError, match="at revision 'v3' is not in the cache"):
        find("someone/reranker", cache_dir=str(cache), local_files_only=True, revision="v3")


def test_what_is_not_cached_and_must_not_be_fetched_names_the_switch(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointNotFoundError, match=r"'Qwen/Qwen3-Reranker-8B' is not in the cache.*local files only"
    ):
        find("Qwen/Qwen3-Reranker-8B", cache_dir=str(tmp_path), local_files_only=True)


def hub_error(kind: type[Exception]) -> Exception:
    """An error as the hub's client raises it; some of them want the answer they came from."""
    if kind not in (GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError):
        return kind("no")
    answer: Any = SimpleNamespace(headers={}, request=None, status_code=404)  # of whichever HTTP client it has
    return kind("no", response=answer)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (LocalEntryNotFoundError, "hub cannot be reached"),
        (GatedRepoError, "Accept its terms"),
        (RepositoryNotFoundError, "is not on the hub"),
        (RevisionNotFoundError, "is not on the hub"),
        (HfHubHTTPError, "could not be fetched"),
        (OSError, "could not be fetched"),
        (EOFError, "could not be fetched"),  # errors of the hub's HTTP client are no OSErrors
    ],
)
def test_each_failure_of_the_hub_has_advice_that_fits_python_and_the_command_line(
    kind: type[Exception], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=advice) as caught:
        find("someone/reranker", revision="v2")
    assert "'someone/reranker' at revision 'v2'" in str(caught.value)
    assert not re.search(r"_|--|\w=[^1]", str(caught.value).replace("HF_HUB_OFFLINE", "").replace("HF_TOKEN", ""))


def test_a_name_that_can_be_no_hub_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="neither a folder on this machine nor a hub id"):
        find("not a/valid/id", cache_dir=str(tmp_path), local_files_only=True)


_PROGRAM = """
import json, logging, sys
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.download import watching_downloads
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError

lines, arrived, found = [], [], []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("qwen3_rerank_plugins").addHandler(handler)
for name, revision, cache in json.loads(sys.argv[1]):
    with watching_downloads(lambda now, total: arrived.append(now)):
        try:
            found.append(find_checkpoint(EngineSettings(model=name, revision=revision, cache_dir=cache)).commit)
        except CheckpointNotFoundError as error:
            found.append(str(error))
print(json.dumps([found, lines, arrived]))
"""


def find_elsewhere(
    address: str, folder: Path, *asked: tuple[str, str | None, Path]
) -> tuple[list[str], list[str], list[int], str]:
    """Ask a hub from a process of its own: commits or errors, lines of our log, bytes reported, and stderr."""
    done = run_sealed(
        _PROGRAM,
        folder,
        json.dumps([(name, revision, str(cache)) for name, revision, cache in asked]),
        sealed=False,
        HF_ENDPOINT=address,
        HF_HUB_ETAG_TIMEOUT="2",
        NO_PROXY="*",
        TQDM_POSITION="-1",  # has the hub's client draw its bars where nobody looks, too
    )
    assert done.returncode == 0, done.stderr
    found, lines, arrived = json.loads(done.stdout.splitlines()[-1])
    return found, lines, arrived, done.stderr


@pytest.mark.parametrize(
    "manner", ["never answers", "stalls after the headers", "drips", "is out of order"], ids=lambda manner: manner
)
def test_a_hub_that_gives_no_answer_keeps_nobody_and_the_cache_stands_in_with_one_warning(
    manner: Manner, copy: Path, tmp_path: Path
) -> None:
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache")
    with serve_hub(copy, "someone/reranker", manner) as address:
        found, lines, _, stderr = find_elsewhere(
            address,
            tmp_path,
            ("someone/reranker", None, cache),
            ("someone/reranker", None, tmp_path / "empty"),
            ("someone/reranker", "0" * 40, cache),  # a commit never changes: nothing is asked
        )
    assert found[0] == found[2] == "0" * 40
    assert re.match("'someone/reranker' is not in the cache and the hub (does not answer|cannot be reached)", found[1])
    assert len(lines) == 1
    assert re.match("the hub did not say whether someone/reranker has changed.*commit 0{40} from the cache", lines[0])
    assert "%|" not in stderr


def test_a_hub_that_nobody_listens_at_is_as_good_as_none(copy: Path, tmp_path: Path) -> None:
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache")
    found, lines, *_ = find_elsewhere("http://127.0.0.1:9", tmp_path, ("someone/reranker", None, cache))
    assert found == ["0" * 40]
    assert len(lines) == 1


def test_a_commit_whose_download_was_interrupted_is_not_taken_for_whole(copy: Path, tmp_path: Path) -> None:
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache", revision=COMMIT)
    snapshots = cache / "models--someone--reranker" / "snapshots"
    (snapshots / ("0" * 40)).rename(snapshots / COMMIT)
    (snapshots / COMMIT / "model.safetensors").unlink()
    with serve_hub(copy, "someone/reranker", "well") as address:
        found, lines, *_ = find_elsewhere(address, tmp_path, ("someone/reranker", COMMIT, cache))
    assert (found, lines) == ([COMMIT], [])
    assert (snapshots / COMMIT / "model.safetensors").is_file()


def test_a_download_may_take_longer_than_the_hub_has_to_answer_and_shows_no_bar_but_its_bytes(
    copy: Path, tmp_path: Path
) -> None:
    with serve_hub(copy, "someone/reranker", "sends files slowly") as address:  # 3 seconds, and 2 to answer
        found, lines, arrived, stderr = find_elsewhere(address, tmp_path, ("someone/reranker", None, tmp_path / "new"))
    assert (found, lines) == ([COMMIT], [])
    assert arrived
    assert "%|" not in stderr
