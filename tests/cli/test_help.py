"""What `--help` prints, at any width: whole words, no flag with a value, every option with its default."""

from __future__ import annotations

import re

import pytest
import typer

from qwen3_rerank_plugins.cli.app import app
from tests.cli.conftest import Run

COMMANDS = ["demo", "rank", "batch", "doctor", "verify", "bench", "eval", "calibrate", "cache"]


def shown(run: Run, monkeypatch: pytest.MonkeyPatch, width: int, *arguments: str) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    done = run(*arguments, "--help")
    assert done.exit_code == 0
    return str(done.stdout)


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_help_fits_its_terminal_and_breaks_between_words_only(
    command: str, width: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(run, monkeypatch, width, *filter(None, [command]))
    assert max(map(len, text.splitlines())) <= min(width, 100)
    assert "…" not in text
    wide = shown(run, monkeypatch, 100, *filter(None, [command]))
    assert text.split() == wide.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_its_entry_and_no_flag_takes_a_value(
    command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(run, monkeypatch, 40, command)
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    for parameter in parameters:
        if parameter.param_type_name == "option":
            (entry,) = re.findall(rf"^  {parameter.opts[0]}( .*)?$", text, re.MULTILINE)
            assert bool(entry) != parameter.is_flag
    assert not re.search(r"<\w+>|<bool|range>", text)


def test_defaults_choices_and_limits_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(shown(run, monkeypatch, 40, "rank").split())
    assert "--dtype WORD Data type of the weights. [one of auto, bfloat16, float16, float32; default: auto]" in text
    assert "--top-n NUMBER Maximum number of documents returned per query. [at least 0; default: all]" in text
    assert "--min-score NUMBER Lowest probability that is returned, inclusive. [0 to 1]" in text
    assert "--device-map auto Spread one model" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["rnak"], "qwen3-rerank: No such command 'rnak'. Did you mean 'rank'? See qwen3-rerank --help.\n"),
        (["--nonsense"], "qwen3-rerank: No such option: --nonsense. See qwen3-rerank --help.\n"),
        (["rank"], "qwen3-rerank: Missing argument 'FILE'. See qwen3-rerank rank --help.\n"),
    ],
)
def test_a_complaint_ends_as_a_sentence_does(arguments: list[str], complaint: str, run: Run) -> None:
    assert run(*arguments).stderr == complaint


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_of_any_command_is_one_sentence_with_its_help(command: str, run: Run) -> None:
    done = run(command, "--nonsense")
    assert done.exit_code == 2
    assert done.stderr.startswith("qwen3-rerank: No such option: --nonsense")
    assert done.stderr.endswith(f" See qwen3-rerank {command} --help.\n")
    assert "?." not in done.stderr
    assert ".." not in done.stderr
