"""The page in a real browser, over the demo checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.browser import Page, chromium
from tests.serve.test_server import Process

QUERY = "How long does a soft-boiled egg take?"
DOCUMENTS = [
    "Eggs are sold by weight.",
    "A soft-boiled egg takes six minutes.",
    "<img src=x onerror=\"window.ran='img'\"><script>window.ran='script'</script><b>soap</b>",
]
PLACES = (
    "[...document.querySelectorAll('.column')].map(one => [...one.querySelectorAll('.text')].map(t => t.textContent))"
)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(page: Page) -> Iterator[str]:
    """Of a server with a small limit of tokens; asked for after the browser, which may not be there."""
    process = Process("--model", "demo", "--max-length", "256").wait_until_ready()
    yield process.url
    process.stop()


@pytest.fixture(autouse=True)
def _no_failures(page: Page) -> Iterator[None]:
    """No test may end with an error of a script, or with something that the policy blocked."""
    page.failures.clear()
    yield
    page.run("1")
    assert page.failures == []


def fill(page: Page, url: str, documents: list[str], **fields: str) -> None:
    """Open the page and fill in the form."""
    page.open(f"{url}/")
    page.wait("document.getElementById('server').textContent.includes('ready')")
    for name, value in {"query": QUERY, "documents": "\n".join(documents), **fields}.items():
        page.run(f"document.getElementById({json.dumps(name)}).value = {json.dumps(value)}")


def rank(page: Page) -> list[list[str]]:
    """Submit the form, and return the texts in each column."""
    page.run("document.getElementById('rank').click()")
    page.wait("document.getElementById('status').textContent.startsWith('Ranked')")
    found: list[list[str]] = page.run(PLACES)
    return found


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)")
    return found


def test_the_order_before_and_after_is_shown_with_bars_tokens_and_milliseconds(page: Page, url: str) -> None:
    fill(page, url, DOCUMENTS)
    before, after = rank(page)
    assert before == DOCUMENTS
    assert sorted(after) == sorted(DOCUMENTS)
    assert after[0] == DOCUMENTS[1]
    scores = [float(score) for score in texts(page, ".column:last-child .score")]
    widths = page.run("[...document.querySelectorAll('.column:last-child .bar > span')].map(one => one.style.width)")
    assert scores == sorted(scores, reverse=True)
    assert [float(width.rstrip("%")) for width in widths] == pytest.approx([100 * score for score in scores], abs=0.1)
    assert "▲ from 2" in texts(page, ".column:last-child .line")[0]
    (facts,) = texts(page, ".column:last-child .facts")
    assert "3 of 3 documents" in facts
    assert " tokens, " in facts
    assert " ms (" in facts


def test_a_script_in_a_document_is_text(page: Page, url: str) -> None:
    fill(page, url, DOCUMENTS, **{"instruction-a": "<script>window.ran='a'</script>", "instruction-b": "<b>b</b>"})
    rank(page)
    assert page.run("window.ran") is None
    assert page.run("document.querySelectorAll('#results img, #results script, #results b').length") == 0
    assert texts(page, "h3") == ["<script>window.ran='a'</script>", "<b>b</b>"]


def test_two_instructions_stand_beside_each_other_with_what_moved(page: Page, url: str) -> None:
    fill(page, url, DOCUMENTS, **{"instruction-b": "Given a question, retrieve passages about soap"})
    first, second = rank(page)
    assert sorted(first) == sorted(second) == sorted(DOCUMENTS)
    for place, text in enumerate(second):
        old = first.index(text) + 1
        expected = "= same place" if old == place + 1 else f"from {old}"
        assert expected in texts(page, ".column:last-child .line")[place]


def test_what_was_cut_is_said_and_the_best_window_is_marked(page: Page, url: str) -> None:
    long = f"{'Weather and trains. ' * 150}{DOCUMENTS[1]}{' Trains and weather.' * 150}"
    fill(page, url, [long, DOCUMENTS[0]])
    rank(page)
    assert "tokens not read" in " ".join(texts(page, ".cut"))
    fill(page, url, [f"😀 {long}", DOCUMENTS[0]], reading="windows")
    rank(page)
    (marked,) = texts(page, "mark")
    assert DOCUMENTS[1] in marked
    assert len(marked) < len(long) / 2
    assert texts(page, ".cut") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("documents.jsonl", '{"text": "one, \\"two\\""}\n{"page_content": "three\\nfour"}\n'),
        ("documents.csv", 'id,text\n1,"one, ""two"""\n2,"three\nfour"\n'),
        ("documents.json", '["one, \\"two\\"", {"content": "three\\nfour"}]'),
    ],
)
def test_a_file_is_dropped_into_the_documents(page: Page, url: str, name: str, content: str) -> None:
    fill(page, url, [])
    page.run(
        f"""(() => {{
            const data = new DataTransfer();
            data.items.add(new File([{json.dumps(content)}], {json.dumps(name)}));
            const drop = new DragEvent("drop", {{ dataTransfer: data, bubbles: true, cancelable: true }});
            document.getElementById("documents").dispatchEvent(drop);
        }})()"""
    )
    page.wait("document.getElementById('count').textContent === '2 documents'")
    before, _ = rank(page)
    assert before == ['one, "two"', "three\nfour"]


def test_a_refusal_is_shown_with_its_reason(page: Page, url: str) -> None:
    fill(page, url, ["word " * 1000], reading="error")
    page.run("document.getElementById('rank').click()")
    page.wait("document.getElementById('status').className === 'failure'")
    assert "does not fit in max_length=256" in texts(page, "#status")[0]
    page.failures.clear()  # the browser notes the status 422


def test_the_keyboard_is_enough(page: Page, url: str) -> None:
    fill(page, url, [])
    page.run("document.getElementById('query').focus()")
    page.run("document.getElementById('query').value = ''")
    page.write(QUERY)
    page.press("Tab", 9)
    page.write("\n".join(DOCUMENTS))
    focused: list[Any] = []
    while not focused or focused[-1] != "rank":
        page.press("Tab", 9)
        focused.append(page.run("document.activeElement.id || document.activeElement.tagName"))
        assert len(focused) < 10, focused
    page.press("Enter", 13, "\r")
    page.wait("document.querySelectorAll('.column').length === 2")
    assert {"file", "example", "instruction-a", "instruction-b", "SUMMARY"} <= set(focused)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_a_narrow_screen_in_light_and_dark(page: Page, url: str, dark: bool, tmp_path: Path) -> None:
    fill(page, url, [*DOCUMENTS, "x" * 300])
    page.open(f"{url}/", 360, dark=dark)
    page.run("document.getElementById('example').click()")
    page.run(f"document.getElementById('documents').value += {json.dumps(chr(10) + 'x' * 300)}")
    rank(page)
    assert page.run("document.documentElement.scrollWidth") <= 360
    colors = page.run("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    text, back = (sum(map(int, color.removeprefix("rgb(").rstrip(")").split(","))) for color in colors)
    assert (text > back) is dark
    (tmp_path / "page.png").write_bytes(page.picture())


def test_the_endpoints_are_described_without_another_server(page: Page, url: str) -> None:
    page.open(f"{url}/docs")
    page.wait("document.querySelectorAll('table').length > 3")
    assert {"POST /rerank", "POST /v1/score", "GET /health"} <= set(texts(page, "h2"))
    assert "max_tokens_per_doc" in texts(page, "td:first-child")
