"""tools/remote_check.py and the servers it starts, without vLLM and Infinity: a small server takes their place."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import remote_check
from safetensors.torch import load_file
from servers.conversion import write_chat_template, write_conversion
from tokenizers import Tokenizer

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from tests.optional import need
from tests.references import INSTRUCTION, PREFIX, SUFFIX

PROMPT = f"{PREFIX}<Instruct>: {INSTRUCTION}\n<Query>: a query\n<Document>: a document{SUFFIX}"


@pytest.mark.parametrize("wrong", [False, True])
def test_right_servers_pass_and_wrong_ones_are_noticed(
    wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("uvicorn")
    from tests.remote.app import RerankApp, serving
    from tests.remote.demo_server import DemoServer

    @contextlib.contextmanager
    def running(kind: str, python: Path, *, template: bool) -> Iterator[str]:
        # Infinity strips texts, so that a template on the client's side is damaged
        with serving(RerankApp(kind, DemoServer(template=template != wrong, strips=not template))) as url:
            yield url

    monkeypatch.setattr(remote_check, "running", running)
    monkeypatch.setattr(remote_check, "versions", lambda kind, python: {"infinity-emb": "0"})
    monkeypatch.setattr(remote_check, "QUESTIONS", dict(list(remote_check.QUESTIONS.items())[:1]))
    out = tmp_path / "record.json"
    with pytest.raises(SystemExit) as exit:
        remote_check.main(["infinity", "--python", "python", "--out", str(out)])
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["study"] == "remote"
    assert [one["right"] for one in record["results"]["trials"]].count(False) == (3 if wrong else 0)
    assert exit.value.code == wrong


def test_the_score_template_gives_the_prompt(tmp_path: Path) -> None:
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Template(write_chat_template(tmp_path / "template.jinja").read_text(encoding="utf-8"))
    messages = [{"role": "query", "content": "a query"}, {"role": "document", "content": "a document"}]
    assert template.render(messages=messages) == PROMPT


def test_the_converted_tokenizer_gives_the_prompt_and_the_score_row_gives_the_log_odds(tmp_path: Path) -> None:
    folder = write_conversion(tmp_path / "model", template=True)
    whole = Tokenizer.from_file(str(DEMO_FOLDER / "tokenizer.json"))
    converted = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert converted.encode("a query", "a document").ids == whole.encode(PROMPT).ids
    weights = load_file(folder / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    yes, no = (whole.token_to_id(word) for word in ("yes", "no"))
    assert weights["score.weight"].equal((rows[yes] - rows[no])[None])
