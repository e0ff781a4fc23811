"""The repository's test data: complete in a fresh clone, unpacked once, whatever runs at the same time."""

from __future__ import annotations

import gzip
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bundled_data import DATA, PACKED, QWEN_TOKENIZER, declaration, declaration_tasks, unpack


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    (folder / "sub").mkdir(parents=True)
    (folder / "plain.txt").write_text("plain", encoding="utf-8")
    (folder / "sub" / "large.json.gz").write_bytes(gzip.compress(b"[1]"))
    return folder


def test_files_are_copied_and_compressed_ones_decompressed(packed: Path, tmp_path: Path) -> None:
    unpacked = unpack(packed, tmp_path / "cache")
    files = {file.relative_to(unpacked).as_posix(): file.read_bytes() for file in unpacked.rglob("*") if file.is_file()}
    assert files == {"plain.txt": b"plain", "sub/large.json": b"[1]"}


def test_unpacked_data_is_used_again_until_the_packed_data_changes(packed: Path, tmp_path: Path) -> None:
    first = unpack(packed, tmp_path / "cache")
    assert unpack(packed, tmp_path / "cache") == first
    (packed / "plain.txt").write_text("other", encoding="utf-8")
    second = unpack(packed, tmp_path / "cache")
    assert second != first
    assert (second / "plain.txt").read_text(encoding="utf-8") == "other"


def test_many_may_unpack_at_once(packed: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: unpack(packed, tmp_path / "cache"), range(32)))
    assert len(folders) == 1
    assert list((tmp_path / "cache").iterdir()) == list(folders)


def test_the_tokenizer_is_the_published_one() -> None:
    published = json.loads((DATA / "tokenizer" / "golden_tokens.json").read_text(encoding="utf-8"))
    found = hashlib.sha256((QWEN_TOKENIZER / "tokenizer.json").read_bytes()).hexdigest()
    assert found == published["tokenizer_json_sha256"]


def test_every_folder_and_file_of_the_data_is_listed_with_its_license() -> None:
    table = (PACKED / "README.md").read_text(encoding="utf-8")
    for file in PACKED.rglob("*"):
        path = file.relative_to(PACKED).as_posix().removesuffix(".gz")
        assert path == "README.md" or f"`{path}" in table or f"`{path.rpartition('/')[0]}/`" in table, path


def test_a_task_of_the_declaration_has_one_relevant_document_at_a_place_of_its_own() -> None:
    tasks = declaration_tasks("eng", 12, candidates=5)
    places = [[candidate["relevance"] for candidate in task["candidates"]].index(1) for task in tasks]
    assert [len(task["candidates"]) for task in tasks] == [5] * 12
    assert set(places) == set(range(5))
    for task, place, paragraph in zip(tasks, places, declaration("eng"), strict=False):
        assert task["query"] + task["candidates"][place]["text"] == paragraph
        assert sum(candidate["relevance"] for candidate in task["candidates"]) == 1
