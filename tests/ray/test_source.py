"""Partitions: every row in exactly one, the same ones each time, whatever the files look like."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.report import ScoringReport
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.ray.answers import Answer, ParseRow
from qwen3_rerank_plugins.ray.jsonl import Jsonl
from qwen3_rerank_plugins.ray.parquet import Parquet
from qwen3_rerank_plugins.ray.partition_ranker import FORMATS
from qwen3_rerank_plugins.ray.source import Format, Partition, find_files, partitions_of

UNREAD = Answer([], None, ScoringReport())


def parsed_rows(kind: Format, partition: Partition, out: Path) -> list[ParseRow]:
    asked: list[ParseRow] = []

    def ask(rows: Any) -> list[Answer]:
        asked.extend(rows)
        return [UNREAD] * len(rows)

    with out.open("wb") as stream:
        kind.answer(partition, ask, stream)
    return asked


def everything_asked(kind: Format, partitions: list[Partition], out: Path) -> list[str]:
    """All queries, by way of the partitions; each row's number in its file of answers is checked."""
    queries: list[str] = []
    for partition in partitions:
        asked = parsed_rows(kind, partition, out)
        assert len(asked) == partition.rows
        assert kind.review(out.read_bytes()).rows == list(range(len(queries), len(queries) + len(asked)))
        queries += [parse().query for parse in asked]
    return queries


def request(query: str) -> dict[str, Any]:
    return {"query": query, "documents": ["a\u2028b"]}


@settings(deadline=None, max_examples=40)  # files are written
@given(
    files=st.lists(st.lists(st.text(max_size=5), max_size=9), min_size=1, max_size=3),
    rows=st.integers(1, 5),
    blank=st.sampled_from(["", "\n", "  \n\n"]),
    end=st.sampled_from(["", "\n"]),
)
def test_lines_are_cut_into_partitions_that_hold_each_of_them_once(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], rows: int, blank: str, end: str
) -> None:
    folder = tmp_path_factory.mktemp("requests")
    for number, queries in enumerate(files):
        lines = (json.dumps(request(query), ensure_ascii=number % 2 == 0) for query in queries)
        text = blank + ("\n" + blank).join(lines) + end
        (folder / f"{number}.jsonl").write_bytes(text.encode("utf-8", "surrogatepass"))
    partitions = partitions_of(Jsonl().split(file, rows) for file in find_files(folder, [".jsonl"]))
    assert all(partition.rows <= rows for partition in partitions)
    assert sum(partition.rows for partition in partitions) == sum(map(len, files))
    assert everything_asked(Jsonl(), partitions, folder / "answers") == [query for file in files for query in file]


@settings(deadline=None, max_examples=40)  # files are written
@given(files=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 7)), min_size=1, max_size=3), rows=st.integers(1, 8))
def test_rows_of_row_groups_of_any_size_are_cut_into_partitions_that_hold_each_of_them_once(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, int]], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("requests")
    for number, (count, group) in enumerate(files):
        table = pa.table(
            {
                "query": pa.array([f"{number} {row}" for row in range(count)], pa.string()),
                "documents": pa.array([["a"]] * count, pa.list_(pa.string())),
            }
        )
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=group)
    partitions = partitions_of(Parquet().split(file, rows) for file in find_files(folder, [".parquet"]))
    expected = [f"{number} {row}" for number, (count, _) in enumerate(files) for row in range(count)]
    assert everything_asked(Parquet(), partitions, folder / "answers") == expected


def test_a_row_says_where_it_stands_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"query": "a", "documents": []}\n\n{"query": 1, "documents": []}\n[]\n')
    pq.write_table(pa.table({"query": ["a", None], "documents": [["b"], ["c"]]}), tmp_path / "a.parquet")
    (lines,) = partitions_of([Jsonl().split(tmp_path / "a.jsonl", 9)])
    fine, wrong, broken = parsed_rows(Jsonl(), lines, tmp_path / "out")
    assert fine().location == f"{tmp_path / 'a.jsonl'} line 2"
    with pytest.raises(RequestError, match="a.jsonl line 4: 'query' must be a string"):
        wrong()
    with pytest.raises(RequestError, match="a.jsonl line 5 is not a JSON object"):
        broken()
    _, second = partitions_of([Parquet().split(tmp_path / "a.parquet", 1)])
    with pytest.raises(RequestError, match="a.parquet row 2: 'query' must be a string, got null"):
        parsed_rows(Parquet(), second, tmp_path / "out")[0]()


def test_a_folder_gives_its_files_by_name_and_leaves_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.JSONL", ".c.jsonl", "_d.jsonl", "e.txt", "f.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "g.jsonl").mkdir()
    assert [file.name for file in find_files(tmp_path, list(FORMATS))] == ["a.JSONL", "b.jsonl", "f.parquet"]
    assert find_files(tmp_path / "b.jsonl", list(FORMATS)) == [tmp_path / "b.jsonl"]


@pytest.mark.parametrize("name", ["nothing", "-", "e.txt"])
def test_what_holds_no_requests_is_refused_with_the_kinds_that_do(name: str, tmp_path: Path) -> None:
    (tmp_path / "e.txt").touch()
    with pytest.raises(RequestError, match=r"ends in \.jsonl, \.ndjson, \.json, \.parquet"):
        find_files(tmp_path / name, list(FORMATS))


def test_what_only_calls_itself_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("{}")
    with pytest.raises(RequestError, match="a.parquet is no Parquet file"):
        Parquet().split(tmp_path / "a.parquet", 1)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("part", [0, 1])
def test_rows_that_are_not_those_that_were_cut_are_refused_whatever_size_and_time_say(
    kind: str, part: int, tmp_path: Path
) -> None:
    def write(*queries: str) -> None:
        rows = [request(query) for query in queries]
        if kind == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=2, compression="none", use_dictionary=False)

    file, how = tmp_path / f"a.{kind}", FORMATS[f".{kind}"]
    write("aa", "bb", "cc", "dd")
    before = file.stat()
    partitions = partitions_of([how.split(file, 2)])
    write("zz", "bb", "cc", "zz")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(RequestError, match=f"a.{kind} has changed since this job began, among the 2 rows"):
        parsed_rows(how, partitions[part], tmp_path / "out")


def test_a_file_that_got_shorter_is_refused(tmp_path: Path) -> None:
    for name, kind in (("a.jsonl", Jsonl()), ("a.parquet", Parquet())):
        file = tmp_path / name
        rows = [request(letter) for letter in "abcd"]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows)) if name == "a.jsonl" else pq.write_table(
            pa.Table.from_pylist(rows), file
        )
        (partition,) = partitions_of([kind.split(file, 9)])
        file.write_bytes(file.read_bytes()[:-20])
        with pytest.raises(RequestError, match=f"{name} has changed since this job began"):
            parsed_rows(kind, partition, tmp_path / "out")


def test_another_kind_under_the_name_of_jsonl_is_refused_before_a_cluster_is_started(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([request("a")], indent=1))
    with pytest.raises(RequestError, match=r"a.json is JSON over several lines.*jq -c"):
        Jsonl().split(tmp_path / "a.json", 1)
    (tmp_path / "a.jsonl").write_bytes(json.dumps(request("a")).encode("utf-16"))
    with pytest.raises(RequestError, match="a.jsonl is UTF-16"):
        Jsonl().split(tmp_path / "a.jsonl", 1)


def test_a_packed_file_in_a_folder_is_not_left_out_silently(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl.gz").touch()
    with pytest.raises(RequestError, match="b.jsonl.gz would be left out"):
        find_files(tmp_path, list(FORMATS))
