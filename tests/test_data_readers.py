"""Files of every format give the same records, and a file that is not text is refused with its format."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qwen3_rerank_plugins.cli.inputs import FormatName, TaskReader
from qwen3_rerank_plugins.data import limits, lines
from qwen3_rerank_plugins.data.readers import count_records, open_records
from qwen3_rerank_plugins.errors import MissingExtraError, RequestError

TEXTS = ["Bees make honey.", "two\nlines", 'a "quoted", cell', "größe 東京 ;\t|"]
ROWS = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]


def documents(*files: Path | str, format: FormatName = "auto", text_field: str = "text") -> list[str]:
    (task,) = TaskReader(format, "q", text_field, lambda _: None).read([str(file) for file in files])
    return [candidate.text for candidate in task.candidates]


def locations(file: Path) -> list[str]:
    with open_records(str(file)) as found:
        return [record.location.removeprefix(f"{file} ") for record in found.records]


def table(delimiter: str, end: str = "\n", mark: str = "") -> bytes:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(one in text for one in '";,\t\n') else text

    rows = [["id", "text"], *([row["id"], cell(row["text"])] for row in ROWS)]
    return (mark + "".join(delimiter.join(row) + end for row in rows)).encode()


WAYS: dict[str, Callable[[Path], object]] = {
    "a.csv": lambda file: file.write_bytes(table(",")),
    "crlf.csv": lambda file: file.write_bytes(table(",", "\r\n")),
    "mark.csv": lambda file: file.write_bytes(table(",", mark="\ufeff")),
    "semicolons.csv": lambda file: file.write_bytes(table(";", mark="\ufeff")),
    "tabs.csv": lambda file: file.write_bytes(table("\t")),
    "A.CSV": lambda file: file.write_bytes(table(",")),
    "a.tsv": lambda file: file.write_bytes(table("\t")),
    "named-wrongly.txt": lambda file: file.write_bytes(table(",")),
    "without-a-suffix": lambda file: file.write_bytes(table("\t")),
    "a.jsonl": lambda file: file.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "jsonl-in.csv": lambda file: file.write_text("".join(json.dumps(row) + "\n" for row in ROWS)),
    "objects.json": lambda file: file.write_text(json.dumps(ROWS)),
    "pretty.json": lambda file: file.write_text("\ufeff" + json.dumps(ROWS, indent=2), encoding="utf-8"),
    "texts.json": lambda file: file.write_text(json.dumps(TEXTS, ensure_ascii=False), encoding="utf-8"),
    "array-in.jsonl": lambda file: file.write_text(json.dumps(ROWS, indent=2)),
    "array.txt": lambda file: file.write_text("\n" + json.dumps(TEXTS)),
    "a.parquet": lambda file: pq.write_table(pa.Table.from_pylist(ROWS), file),
    "parquet-in.csv": lambda file: pq.write_table(pa.Table.from_pylist(ROWS), file),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_same_documents_come_out_of_every_kind_of_file(name: str, tmp_path: Path) -> None:
    WAYS[name](tmp_path / name)
    assert documents(tmp_path / name) == TEXTS


@pytest.mark.parametrize("name", WAYS)
def test_stdin_is_read_as_a_file_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WAYS[name](tmp_path / name)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / name).read_bytes())))
    assert documents("-") == TEXTS


def test_a_record_says_where_it_stands(tmp_path: Path) -> None:
    for name in ("a.csv", "texts.json", "a.parquet"):
        WAYS[name](tmp_path / name)
    assert locations(tmp_path / "a.csv") == ["line 2", "line 3", "line 5", "line 6"]
    assert locations(tmp_path / "texts.json") == ["item 1", "item 2", "item 3", "item 4"]
    assert locations(tmp_path / "a.parquet") == ["row 1", "row 2", "row 3", "row 4"]


def test_a_column_is_chosen_by_name_and_a_missing_one_is_told_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;body;title\n1;one, two;x\n")
    assert documents(tmp_path / "a.csv", text_field="body") == ["one, two"]
    with pytest.raises(
        RequestError, match=r"line 2 has no column 'text' \(its columns: 'id', 'body', 'title'\).*--text-field"
    ):
        documents(tmp_path / "a.csv")
    assert documents(tmp_path / "a.csv", format="lines") == ["id;body;title", "1;one, two;x"]


def test_text_that_only_resembles_another_kind_stays_text(tmp_path: Path) -> None:
    notes = ["[1] A footnote", "context, text, and more", "a\x00b c d e f g h i j k l m n o p q r s t u v w x y z" * 3]
    for note in notes:
        (tmp_path / "notes.txt").write_text(note + "\nmore")
        assert documents(tmp_path / "notes.txt", text_field="body") == [note, "more"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id,text\n1,a\n2\n", r"a.csv line 3 has 1 cells, and the header has 2"),
        ("id,text\n1,a,b\n", r"a.csv line 2 has 3 cells, and the header has 2"),
        ('id,text\n1,"never closed\n2,b\n', r"a.csv line 2 is no row of a table: unexpected end of data"),
        ('id,text\n1,"Hello" he said\n', r"a.csv line 2 is no row of a table: ',' expected after '\"'"),
        ("text,text\na,b\n", r"a.csv has two columns 'text'"),
    ],
)
def test_a_table_that_does_not_add_up_is_refused_with_its_line(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(RequestError, match=complaint):
        documents(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("[1, 2]", "a.json item 1 is neither a text nor a JSON object"), ('["a",', "a.json is not valid JSON: ")],
)
def test_json_of_something_else_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(RequestError, match=complaint):
        documents(tmp_path / "a.json")


def a_zip(*_: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.pdf", b"%PDF-1.7\n...", "a.pdf is a PDF document. .*pdftotext"),
        ("a.docx", a_zip(), "a.docx is a Word document. Save its text"),
        ("a.xlsx", a_zip(), "a.xlsx is an Excel workbook"),
        ("a.csv", a_zip(), "a.csv is a zip archive"),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00", "is compressed with gzip. .*gunzip -c"),
        ("a.html", b"<!DOCTYPE html>\n<p>x", "a.html is HTML or XML"),
        ("a.parquet", b"id,text\n", "a.parquet is no Parquet file"),
        ("a.bin", bytes(range(256)), "a.bin is a binary file, not text"),
        ("a.txt", "gut\n".encode("utf-16"), "a.txt is UTF-16, as its byte order mark says.*iconv -f UTF-16 -t UTF-8"),
        ("a.csv", "id,text\n1,gut\n".encode("utf-32"), "a.csv is UTF-32, as its byte order mark says.*iconv -f UTF-32"),
        ("a.jsonl", '{"text": "gut"}\n'.encode("utf-16-le"), "is UTF-16LE, as its zero bytes .*iconv -f UTF-16LE"),
        ("a.txt", "schön und gut\n".encode("utf-16-be"), "is UTF-16BE, as its zero bytes"),
        ("a.txt", "schön und gut\n".encode("utf-32-le"), "is UTF-32LE, as its zero bytes"),
        ("a.txt", "schön und gut\n".encode("utf-32-be"), "is UTF-32BE, as its zero bytes"),
    ],
)
def test_what_holds_no_texts_is_refused_by_what_it_is(
    name: str, content: bytes, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=complaint):
        documents(tmp_path / name)
    if "HTML" not in complaint and "Parquet" not in complaint:
        with pytest.raises(RequestError, match=complaint):
            documents(tmp_path / name, format="lines")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing else\n")
    with pytest.raises(RequestError, match="a.parquet is no Parquet file that can be read"):
        documents(tmp_path / "a.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    WAYS["a.parquet"](tmp_path / "a.parquet")
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from qwen3_rerank_plugins.cli.inputs import TaskReader\n"
        f"print(*TaskReader('auto', 'q', 'text', print).read([{str(tmp_path / 'a.parquet')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert str(MissingExtraError("pyarrow", "ray")) in done.stderr


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10_000)
    with pytest.raises(RequestError, match="/dev/zero line 1 is longer than 0 MiB"):
        documents("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs the pipes of a POSIX system")
@pytest.mark.parametrize("endless", ["a fine document", "id,text\n1,b", '["a",'])
def test_input_without_an_end_is_refused_before_it_fills_the_memory(
    endless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_TEXTS", 1_000)
    monkeypatch.setattr(lines, "MOST_AT_ONCE", 50_000)
    program = f"import sys\ntry:\n    while True: sys.stdout.write({endless!r} + chr(10))\nexcept OSError: pass"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as endless_pipe:
        assert endless_pipe.stdout is not None
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless_pipe.stdout))
        with pytest.raises(RequestError, match="may be at most 1,000 texts|may have|is no row"):
            documents("-")
        sys.stdin.close()


def test_records_are_counted_only_where_that_neither_uses_them_up_nor_reads_them_all(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet", "a.csv"):
        WAYS[name](tmp_path / name)
    assert count_records([str(tmp_path / "a.jsonl"), str(tmp_path / "a.parquet")]) == 8
    assert count_records([str(tmp_path / "a.csv")]) is None
    assert count_records([str(tmp_path / "a.jsonl"), "-"]) is None


def test_a_set_in_a_json_array_or_in_parquet_is_a_set(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"query": "q", "candidates": [{"doc_id": "a", "text": "x"}]},
        {"query": "r", "candidates": []},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name, location in (("a.json", "item 2"), ("a.parquet", "row 2")):
        one, two = TaskReader("auto", None, "text", lambda _: None).read([str(tmp_path / name)])
        assert (one.query, one.candidates[0].doc_id, two.location) == ("q", "a", f"{tmp_path / name} {location}")
