"""The documented table of errors, walked: every leaf of the tree is provoked for real, through the public names."""

from __future__ import annotations

import ast
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker, RerankError, errors
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.errors import (
    DeviceMemoryError,
    LongDocumentError,
    MissingExtraError,
    NonFiniteScoreError,
    RemoteRefusedError,
    RemoteUnreachableError,
    fresh,
)
from tests.held_engine import HeldEngine
from tests.optional import need
from tests.refused_threads import no_more_threads

TABLE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^\| `(\w+Error)` \|", TABLE, re.MULTILINE)
PARENTS = {"RerankError", "CheckpointError", "ScoringError", "RemoteError"}
"""They are never raised themselves."""


def copy_of_the_demo(folder: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, folder / "checkpoint"))


def rank(model: str | Path = "demo", **options: object) -> None:
    with Qwen3Reranker(str(model), **options) as reranker:  # type: ignore[arg-type]
        reranker.rank("a question", ["some text"])


def wrong_option(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo", dtype="int3")  # type: ignore[arg-type]


def one_string_for_a_list(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo").rank("a question", "one text")


def bytes_for_text(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo").rank("a question", ["text", b"bytes"])  # type: ignore[list-item]


def a_query_that_fills_the_prompt(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo", max_length=100).rank("word " * 200, ["text"])


def a_document_that_does_not_fit(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo", max_length=100, long_documents="error").rank("a question", ["text", "word " * 200])


def a_folder_that_is_not_there(folder: Path, __: pytest.MonkeyPatch) -> None:
    rank(folder / "nothing")


def a_model_of_another_family(folder: Path, __: pytest.MonkeyPatch) -> None:
    checkpoint = copy_of_the_demo(folder)
    config = checkpoint / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("Qwen3ForCausalLM", "BertModel"), encoding="utf-8")
    rank(checkpoint)


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    checkpoint = copy_of_the_demo(folder)
    weights = load_file(checkpoint / "model.safetensors")
    change(weights)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return checkpoint


def a_matrix_that_is_missing(folder: Path, __: pytest.MonkeyPatch) -> None:
    rank(change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight")))


def infinite_weights(folder: Path, __: pytest.MonkeyPatch) -> None:
    rank(change_weights(folder, lambda weights: weights["model.layers.2.mlp.up_proj.weight"].fill_(torch.inf)))


def fail_in_every_pass(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(self: object, batch: object) -> None:
        raise error

    monkeypatch.setattr("qwen3_rerank_plugins.engine.model.packed_model.PackedModel.__call__", failing)


def memory_for_nothing(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in_every_pass(monkeypatch, torch.OutOfMemoryError("tried to allocate a lot"))
    rank(max_batch_tokens=4321)  # an engine of its own, which no other test shares


def a_broken_kernel(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in_every_pass(monkeypatch, RuntimeError("the kernel fell over"))
    rank(max_batch_tokens=4322)


def rank_on_a_server(kind: str, **options: object) -> None:
    need("uvicorn")
    from tests.remote.app import RerankApp, edited, serving

    app = RerankApp(key="sesame" if kind == "wants a key" else None)
    if kind == "answers half":
        app.always = edited(lambda answer: answer["results"].clear())
    if kind == "only joins":
        app.score = lambda query, document, _: float(len(query + document))
    with serving(app) as url:
        rank(remote=url, **{"template": "server", "protocol": "cohere", "probe": False, **options})


def a_server_that_is_not_there(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("httpx")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    rank(remote=f"http://127.0.0.1:{port}", template="server", protocol="cohere")


def a_server_that_wants_a_key(_: Path, __: pytest.MonkeyPatch) -> None:
    rank_on_a_server("wants a key")


def a_server_that_answers_half(_: Path, __: pytest.MonkeyPatch) -> None:
    rank_on_a_server("answers half")


def a_server_without_the_template(_: Path, __: pytest.MonkeyPatch) -> None:
    rank_on_a_server("only joins", probe=True)


def a_call_that_is_late(_: Path, __: pytest.MonkeyPatch) -> None:
    with HeldEngine(), Qwen3Reranker("demo", timeout=0.1) as reranker:
        reranker.rank("a question", ["some text"])


def a_call_too_many(_: Path, __: pytest.MonkeyPatch) -> None:
    with HeldEngine() as engine, Qwen3Reranker("demo", max_waiting_tokens=10) as reranker:
        engine.queue_a_request()
        reranker.rank("a question", ["some text"])


def a_batch_that_no_node_can_read(folder: Path, _: pytest.MonkeyPatch) -> None:
    need("ray")
    from tests.ray.test_partition_ranker import failure_of, run, split

    (folder / "a.jsonl").write_text('{"query": "a question", "documents": ["text"]}\n', encoding="utf-8")
    (partition,) = split(folder / "a.jsonl")
    (folder / "a.jsonl").unlink()
    failure = failure_of(run(partition, folder / "answers"))
    assert failure is not None
    raise failure


def a_closed_reranker(_: Path, __: pytest.MonkeyPatch) -> None:
    reranker = Qwen3Reranker("demo")
    reranker.close()
    reranker.rank("a question", ["text"])


def a_system_without_threads(_: Path, __: pytest.MonkeyPatch) -> None:
    with no_more_threads(), Qwen3Reranker("demo", max_batch_tokens=714) as reranker:
        reranker.rank("a question", ["text"])


def no_langchain(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    for name in [name for name in sys.modules if name.startswith("qwen3_rerank_plugins.langchain")]:
        monkeypatch.delitem(sys.modules, name)
    import qwen3_rerank_plugins.langchain  # noqa: F401


def a_misspelt_filter(_: Path, __: pytest.MonkeyPatch) -> None:
    need("langchain_core")
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.vectorstores import InMemoryVectorStore

    from qwen3_rerank_plugins.langchain import Qwen3Rerank, Qwen3RerankRetriever

    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=2))
    reranker = Qwen3Rerank(model="demo")
    Qwen3RerankRetriever(retriever=store.as_retriever(), reranker=reranker).invoke("a question", fliter=None)


PROVOKED: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], str]] = {
    "SettingsError": (wrong_option, "dtype must be one of 'auto', 'bfloat16'"),
    "UnknownArgumentError": (a_misspelt_filter, r"takes fliter\. .* first stage takes filter, k"),
    "RequestError": (one_string_for_a_list, r"wrap it in a list: \[document\]"),
    "InputTypeError": (bytes_for_text, r"documents\[1\] must be a string, got bytes. Decode it first"),
    "NoRoomError": (
        a_query_that_fills_the_prompt,
        r"take \d+ tokens and max_length is 100.*raise max_length to at least",
    ),
    "LongDocumentError": (
        a_document_that_does_not_fit,
        r"1 of 2 documents does not fit in max_length=100: the longest, documents\[1\], by \d+ tokens. Raise",
    ),
    "CheckpointNotFoundError": (a_folder_that_is_not_there, "There is no folder .*Check the path"),
    "UnsupportedCheckpointError": (a_model_of_another_family, "is BertModel, neither Qwen3ForCausalLM"),
    "IncompleteCheckpointError": (a_matrix_that_is_missing, "1 parameters are missing from the files .*Download"),
    "NonFiniteScoreError": (infinite_weights, r"for 1 of 1 document \(positions 0\).* NaN or infinity, in 'model"),
    "DeviceMemoryError": (memory_for_nothing, r"A batch of \d+ tokens .* ran out of device memory: tried .* Lower"),
    "PassError": (a_broken_kernel, "RuntimeError: the kernel fell over.*The cause is attached: report it with that"),
    "RerankTimeoutError": (a_call_that_is_late, r"within its timeout of 0.1 seconds: it waited for .*\. Raise timeout"),
    "OverloadedError": (a_call_too_many, r"tokens are waiting, and max_waiting_tokens=10 allows 10\. .* Call again"),
    "BatchError": (a_batch_that_no_node_can_read, "cannot read .*: No such file.* every node must see requests"),
    "RemoteUnreachableError": (a_server_that_is_not_there, "could not be asked, 4 times: .*Check that the server runs"),
    "RemoteRefusedError": (a_server_that_wants_a_key, "status 401: the server wants an api_key"),
    "RemoteAnswerError": (a_server_that_answers_half, "0 results for 1 documents.*Check remote=URL and protocol"),
    "RemoteTemplateError": (a_server_without_the_template, "applies no template.*Start it with .* template='client'"),
    "ClosedError": (a_closed_reranker, "closed. Make a new one"),
    "ThreadStartError": (a_system_without_threads, "could not start: .* Raise it .* and call again"),
    "MissingExtraError": (no_langchain, r"pip install 'qwen3-rerank-plugins\[langchain\]'"),
}


def test_every_error_of_the_table_is_provoked_here() -> None:
    assert set(DOCUMENTED) - PARENTS == set(PROVOKED)


@pytest.mark.parametrize("name", PROVOKED)
def test_an_error_of_the_table_says_what_happened_and_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provoke, message = PROVOKED[name]
    with pytest.raises(RerankError, match=f"(?s){message}") as raised:
        provoke(tmp_path, monkeypatch)
    assert type(raised.value) is getattr(errors, name)
    for also in re.findall(rf"^\| `{name}` \| `(\w+)` \|", TABLE, re.MULTILINE):
        assert also in {base.__name__ for base in type(raised.value).__mro__}


@pytest.mark.parametrize("name", PROVOKED)
def test_an_error_travels_between_processes_with_all_that_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RerankError) as raised:
        PROVOKED[name][0](tmp_path, monkeypatch)
    arrived = pickle.loads(pickle.dumps(raised.value))
    assert type(arrived) is type(raised.value)
    assert str(arrived) == str(raised.value)
    assert getattr(arrived, "documents", None) == getattr(raised.value, "documents", None)


LIMIT = """
import resource, sys
from qwen3_rerank_plugins import Qwen3Reranker

def leave(mebibytes):
    with open("/proc/self/status") as status:
        used = next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (used * 1024 + mebibytes * 2**20, resource.RLIM_INFINITY))

def show(call):
    try:
        print("no error:", len(call()))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")

warm = Qwen3Reranker("demo", device="cpu", max_length=40_000, max_batch_tokens=50_000)
warm.rank("a question", ["text"])
"""


def in_a_process(program: str, **environment: str) -> list[str]:
    """The last lines of what a program prints in a process whose memory is its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process and says what it uses")
def test_memory_that_really_runs_out_in_a_pass_is_an_error_and_the_next_call_is_served() -> None:
    first, second = in_a_process(
        f"{LIMIT}\nleave(64)\n"
        "show(lambda: warm.rank('a question', ['word ' * 30_000]))\nshow(lambda: warm.rank('a question', ['text']))"
    )
    assert re.match(r"DeviceMemoryError: A batch of 30,\d+ tokens for 1 document ran out .* Lower max_length", first)
    assert second == "no error: 1"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process and says what it uses")
def test_memory_that_really_runs_out_while_loading_is_no_fault_of_the_checkpoint(tmp_path: Path) -> None:
    folder = copy_of_the_demo(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.more"] = torch.zeros(2**26, dtype=torch.bfloat16)  # 128 MiB, mapped and then copied
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    rank = f"Qwen3Reranker({str(folder)!r}, device='cpu').rank('a question', ['text'])"
    (line,) = in_a_process(f"{LIMIT}\nleave(192)\nshow(lambda: {rank})")
    assert re.match(r"DeviceMemoryError: The weights of .* do not fit .*[mM]emory.*\. Free memory, use a smaller", line)


@pytest.mark.slow
def test_a_compiler_that_is_really_missing_is_an_error_of_a_pass_with_its_cause() -> None:
    rank = "Qwen3Reranker('demo', device='cpu', compile=True).rank('a question', ['text'])"
    lines = in_a_process(f"{LIMIT}\nshow(lambda: {rank})", CXX="/nowhere/c++")
    assert re.match(r"PassError: The forward pass failed: \w+: .*[cC]ompiler", lines[0])
    assert lines[-1].endswith("The cause is attached: report it with that.")


PACKAGE = Path(errors.__file__).parent
OTHERS = {
    "AttributeError": "a module's own __getattr__ has to raise it",
    "typer.Exit": "an exit code",
    "typer.BadParameter": "typer words it",
    "start_refused": "it makes errors of the tree",
    "self._refusal": "it makes errors of the tree",
    "call.late_error": "it makes errors of the tree",
    "self.late_error": "it makes errors of the tree",
    "late": "it makes errors of the tree",
    "min": "it chooses among errors of the tree",
}
INNER = {
    ("engine/scheduling/planned_batch.py", "ValueError"),  # becomes a PassError in the scheduler
    ("engine/kernels/triton_kernels.py", "ValueError"),  # becomes a PassError; our own views are always contiguous
    ("engine/checkpoints/download.py", "HubSilentError"),  # becomes a CheckpointNotFoundError, or a warning
    ("engine/loading/placement.py", "ValueError"),  # becomes a SettingsError
    ("engine/model/rotary.py", "ValueError"),  # becomes a PassError
    ("engine/score_cache/schema.py", "ForeignFileError"),  # becomes a warning, and the cache is off
    # what the server answers with, in the form of each protocol
    *((f"serve/{name}.py", "Failure") for name in ("app", "endpoints/score", "guard", "ranking_service", "readiness")),
    ("serve/app.py", "malformed"),
    ("verify/strict_json.py", "ValueError"),  # becomes a RequestError
    ("remote/response_body.py", "UnreadableError"),  # becomes a RemoteAnswerError, or part of a RemoteRefusedError
    ("bench/load_memory.py", "RuntimeError"),  # what broke in a process of the bench's own, with its traceback
    ("bench/stopwatch.py", "RuntimeError"),  # a Linux without the file that every Linux has
}
ADVICE = re.compile(
    r"(Accept|Ask|Call|Check|Convert|Download|Finish|Free|Load|Lower|Make|Pass|Report|Save|Start|Take|To try|Try|Use"
    r"|The cause is attached: report)\b"
)
"""How the last sentence of a message begins, where an option or an argument is not named by what it must be."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def raised() -> Iterator[tuple[str, ast.Call]]:
    """(file, call of the error) for everything that the package raises by name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                yield path.relative_to(PACKAGE).as_posix(), node.exc


def message(file: str, error: ast.Call) -> str:
    """Its words, with "..." for what is filled in, unless that is a sentence that the module keeps in a constant."""
    body = parsed(PACKAGE / file).body
    kept = {ast.unparse(line.targets[0]): line.value for line in body if isinstance(line, ast.Assign)}

    def words(part: ast.expr) -> str:
        if isinstance(part, ast.Constant):
            return str(part.value)
        if isinstance(part, ast.JoinedStr):
            return "".join(map(words, part.values))
        constant = kept.get(ast.unparse(part.value)) if isinstance(part, ast.FormattedValue) else None
        return words(constant) if constant else "..."

    return words(error.args[0])


def test_everything_that_is_raised_on_purpose_is_of_the_tree() -> None:
    names = {(file, ast.unparse(error.func)) for file, error in raised()}
    foreign = {(file, name) for file, name in names if not hasattr(errors, name) and name not in OTHERS}
    assert {one for one in foreign if not one[1].startswith("_")} == INNER


def test_every_message_about_a_checkpoint_a_pass_or_an_end_closes_with_what_to_do() -> None:
    kinds = (errors.CheckpointError, errors.ScoringError, errors.ClosedError)
    seen, silent = 0, []
    for file, error in raised():
        kind = getattr(errors, ast.unparse(error.func), None)
        if kind is None or not issubclass(kind, kinds):
            continue
        seen += 1
        last = re.split(r"(?<=[.;]) (?=[A-Z.])", message(file, error))[-1]
        if not ADVICE.match(last) and last.strip(". "):  # one that is filled in whole is provoked by other tests
            silent.append((file, last))
    assert silent == []
    assert seen > 30


def test_every_error_can_be_imported_from_the_package_itself() -> None:
    import qwen3_rerank_plugins

    tree = {name: error for name, error in vars(errors).items() if isinstance(error, type) and name.endswith("Error")}
    assert set(tree) <= set(qwen3_rerank_plugins.__all__)
    for name, error in tree.items():
        assert getattr(qwen3_rerank_plugins, name) is error


class _PlaceError(RerankError):
    """An exception whose constructor does not take its message."""

    def __init__(self, place: str, *, row: int) -> None:
        super().__init__(f"{place}, row {row}")
        self.place, self.row = place, row


@pytest.mark.parametrize(
    "error",
    [
        LongDocumentError("too long", [1, 2]),
        NonFiniteScoreError("not finite", [3]),
        RemoteRefusedError("refused", status=503, retry_after=1.5),
        RemoteUnreachableError("nobody there", again=False),
        errors.RerankTimeoutError("late", waiting_seconds=1.5, computing_seconds=0.5),
        errors.OverloadedError("too much", retry_after=2.5),
        MissingExtraError("ray", "ray"),
        DeviceMemoryError("no memory"),
        _PlaceError("batch", row=4),
        FileNotFoundError(2, "No such file", "/nowhere"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fresh_error_is_the_same_in_all_but_what_raising_it_writes(error: Exception) -> None:
    error.add_note("first")
    error.__cause__ = KeyError("cause")
    try:
        raise error
    except Exception:
        copies = [fresh(error), fresh(error)]
    for one in copies:
        assert type(one) is type(error)
        assert str(one) == str(error)
        own = {name: value for name, value in vars(one).items() if name != "__notes__"}
        assert own == {name: value for name, value in vars(error).items() if name != "__notes__"}
        assert (one.__notes__, one.__traceback__) == (["first"], None)
        assert repr(one.__cause__) == repr(error.__cause__)
        assert one.__cause__ is not error.__cause__
    copies[0].add_note("second")
    assert copies[1].__notes__ == error.__notes__ == ["first"]
