"""The command as a whole: light, quiet, and one line for every error."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qwen3_rerank_plugins import Qwen3Reranker, __version__, cli
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.cli.app import app
from qwen3_rerank_plugins.cli.commands import rank as rank_command
from qwen3_rerank_plugins.errors import NonFiniteScoreError, PassError, RequestError
from tests.cli.conftest import Run, in_a_process, one_line
from tests.doubles import OverlapScorer

HEAVY = {"torch", "transformers", "tokenizers", "huggingface_hub", "numpy"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        *([name, "--help"] for name in ("demo", "rank", "doctor", "verify", "bench", "eval", "calibrate")),
    ],
)
def test_help_loads_no_library_that_computes(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv = ['qwen3-rerank', *{arguments!r}]\n"
        "from qwen3_rerank_plugins.cli import main\n"
        "try: main()\n"
        "finally: sys.stderr.write(' '.join({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Usage: qwen3-rerank" in done.stdout
    assert not HEAVY & set(done.stderr.split())
    assert {"typer", "rich"} <= set(done.stderr.split())


def test_version_is_the_packages(run: Run) -> None:
    assert run("--version").stdout == f"qwen3-rerank {__version__}\n"


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; from qwen3_rerank_plugins.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    complaint = one_line(done.stderr)
    assert complaint == f"{package} is not installed. Install it with: pip install 'qwen3-rerank-plugins[cli]'"


def test_another_missing_module_is_not_taken_for_the_extra() -> None:
    program = "import sys; sys.modules['psutil2'] = sys.modules['qwen3_rerank_plugins.cli.app'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}from qwen3_rerank_plugins.cli import main; main()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ModuleNotFoundError" in done.stderr
    assert "pip install" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["rnak"], "No such command 'rnak'"),
        (["--nonsense"], "No such option"),
        (["rank"], "Missing argument 'FILE"),
        (["rank", "--nonsense", "x"], "See qwen3-rerank rank --help."),
        (["rank", "--top-n", "-1", "x"], "--top-n"),
        (["rank", "--min-score", "2", "x"], "--min-score"),
        (["rank", "--dtype", "float8", "x"], "'auto', 'bfloat16', 'float16', 'float32'"),
        (["rank", "--max-batch-tokens", "many", "x"], "'many' is neither a whole number nor 'auto'"),
        (["rank", "--max-batch-tokens", "0", "x"], "max_batch_tokens must be a positive whole number"),
        (["rank", "--max-length", "5", "x"], "max_length must be at least 60"),
        (["rank", "--model", " ", "x"], "model must be a hub id or a folder, as a non-empty string"),
        (["rank", "--query", "q", "nowhere.txt"], "Cannot read nowhere.txt"),
        (["demo", "--top-n", "0"], "--top-n"),
        (["doctor", "--attention", "eager"], "'eager' is not one of"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(run: Run, arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert complaint in one_line(done.stderr)


@pytest.mark.parametrize(
    ("error", "code"), [(RequestError("no\nroom"), 2), (NonFiniteScoreError("nan"), 1), (PassError("broke"), 1)]
)
def test_errors_of_the_tree_become_one_line_and_a_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    monkeypatch.setattr(registry, "acquire", lambda settings, user: OverlapScorer(error))
    done = run("rank", "--query", "q", "-", stdin="text\n\nmore")
    assert (done.exit_code, done.stdout) == (code, "")
    assert one_line(done.stderr) == " ".join(str(error).split())


def test_an_unforeseen_error_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "acquire", lambda settings, user: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("rank", "--query", "q", "-", stdin="text")


def test_an_interrupt_is_silent_and_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(OverlapScorer):
        def warmup(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(registry, "acquire", lambda settings, user: Interrupted())
    done = run("rank", "--query", "q", "-", stdin="text")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("outcome", [KeyboardInterrupt, SystemExit(130)])
def test_an_interrupted_process_waits_for_no_pass(outcome: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []

    def leave(code: int) -> None:
        left.append(code)

    def fail() -> None:
        raise outcome

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(cli, "_load_and_run", fail)
    with pytest.raises(SystemExit):
        cli.main()
    assert left == [130]


def _heed_interrupts() -> None:
    """A shell starts its background jobs deaf to Ctrl-C, and the suite may be one of them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_ctrl_c_ends_a_process_that_reads(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "qwen3_rerank_plugins.cli", "rank", "--query", "q", str(pipe)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_heed_interrupts, text=True
    )
    with pipe.open("w"):  # opens once the command has opened it too, and so is past its start
        process.send_signal(signal.SIGINT)
        shown, complaint = process.communicate()
    assert (process.returncode, shown, complaint) == (130, "", "")


def test_a_terminal_without_the_characters_gets_question_marks() -> None:
    done = in_a_process("rank", "--query", "größe", "-", input="", PYTHONIOENCODING="ascii:strict")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "gr??e")


def test_every_setting_of_the_facade_is_an_option_of_rank_with_the_same_default() -> None:
    missing_on_purpose = {
        "token",  # would stand in the list of processes; HF_TOKEN does not
        "api_key",  # neither; QWEN3_RERANK_API_KEY does not
        "probe",  # on unless --no-probe
        "scorer",  # not a word
        "max_waiting_tokens",  # a command is the only caller of its engine
    }
    settings = dict(inspect.signature(Qwen3Reranker).parameters)
    options = inspect.signature(rank_command.rank).parameters
    assert missing_on_purpose <= settings.keys()
    for name in settings.keys() - missing_on_purpose:
        assert options[name].default == settings[name].default, name


def test_a_module_run_is_the_command() -> None:
    assert in_a_process("--version").stdout == f"qwen3-rerank {__version__}\n"


def test_the_help_of_every_command_fits_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], ["demo"], ["rank"], ["doctor"], ["verify"], ["eval"], ["calibrate"], ["cache"], ["serve"]):
        shown = run(*arguments, "--help").stdout.splitlines()
        assert max(map(len, shown)) <= 80


def test_commands_are_these(run: Run) -> None:
    assert [command.callback.__name__ for command in app.registered_commands if command.callback] == [
        "demo",
        "rank",
        "serve",
        "batch",
        "doctor",
        "verify",
        "bench",
        "eval",
        "calibrate",
        "cache",
    ]
