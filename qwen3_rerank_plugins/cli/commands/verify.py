"""`qwen3-rerank verify`: whether the scores are those that are published, or those that you recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.inputs import FormatName
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, DEFAULT_MODEL
from qwen3_rerank_plugins.errors import RequestError

if TYPE_CHECKING:
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.reranker import Qwen3Reranker
    from qwen3_rerank_plugins.verify import Question, Recording


def verify(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="SET", help="Texts to record, as `rank` reads them; - is stdin.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a golden file: the texts, their scores, and what made them."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Score the texts of a golden file again; exit code 1 if any has moved."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="With --check: how far log-odds may move.", show_default="0.001 in float32, 0.15 in 16 bits"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --record: replace a file that is there.")] = False,
    query: Annotated[
        str | None,
        typer.Option(help="With --record: what is looked for; needed for documents, refused for sets."),
    ] = None,
    format: Annotated[
        FormatName, typer.Option(help='With --record, of all files; "auto" looks at their names and first lines.')
    ] = "auto",
    text_field: Annotated[
        str, typer.Option(help="With --record: field or column that holds a document's text.")
    ] = "text",
    as_json: options.Json = False,
    instruction: options.Instruction = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Tokens of a whole prompt; only documents are ever cut.",
            show_default=f"{DEFAULT_MAX_LENGTH}, or with --check as recorded",
            rich_help_panel="Ranking",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help='Hub id, local folder, or "demo" for the bundled checkpoint.',
            show_default=f"{DEFAULT_MODEL}, or with --check as recorded",
            rich_help_panel="Model and machine",
        ),
    ] = None,
    revision: options.Revision = None,
    device: options.Device = "auto",
    devices: options.Devices = None,
    device_map: options.DeviceMap = None,
    dtype: options.Dtype = "auto",
    attention: options.Attention = "auto",
    quantization: options.Quantization = None,
    max_batch_tokens: options.MaxBatchTokens = "auto",
    threads: options.Threads = "auto",
    compile: options.Compile = False,
    cache_dir: options.CacheDir = None,
    local_files_only: options.LocalFilesOnly = False,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Compare scores with published ones, or record your own and compare after an upgrade."""
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.reranker import Qwen3Reranker
    from qwen3_rerank_plugins.verify.recording import check_target, read_recording

    if record and check:
        raise RequestError("--record writes a golden file and --check reads one: give one of the two.")
    texts = {
        "--query": query,
        "--instruction": instruction,
        "--format": None if format == "auto" else format,
        "--text-field": None if text_field == "text" else text_field,
    }
    _refuse_without("--record", record, {"SET": files or None, **texts, "--force": force or None})
    _refuse_without("--check", check, {"--tolerance": tolerance})
    _refuse_without("a SET to record", files or None, texts)
    screen = Screen(results_for_programs=as_json)
    questions = recording = None
    if record:
        check_target(record, overwrite=force)
        questions = _read_questions(files or [], query, format, text_field, instruction, screen.note)
    if check:
        recording = read_recording(check)
    then = recording.provenance if recording else None
    if model is None:
        model = then.model if then else DEFAULT_MODEL
    if max_length is None:
        max_length = then.max_length if then else None
    reranker = Qwen3Reranker(
        model,
        revision=revision,
        device=device,
        devices=devices,
        device_map=device_map,
        dtype=dtype,
        attention=attention,
        quantization=quantization,
        max_length=max_length,
        max_batch_tokens=max_batch_tokens,
        threads=threads,
        compile=compile,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        trust_remote_code=trust_remote_code,
    )
    if record:
        _record(reranker, questions, record, screen, overwrite=force, as_json=as_json)
    elif recording:
        _check(reranker, recording, tolerance, screen, as_json=as_json)
    else:
        _verify(reranker, screen, as_json=as_json)


def _verify(reranker: Qwen3Reranker, screen: Screen, *, as_json: bool) -> None:
    from qwen3_rerank_plugins.cli.loading import fetch
    from qwen3_rerank_plugins.cli.verify_output import case_table, cases_to_json
    from qwen3_rerank_plugins.verify.cases import cases_for
    from qwen3_rerank_plugins.verify.provenance import collect_provenance
    from qwen3_rerank_plugins.verify.verification import check_quantization, verify

    check_quantization(reranker)
    cases = cases_for(fetch(reranker.settings, screen))  # no weights are loaded for which there are none
    with _scoring(reranker, screen, [case.question for case in cases]) as on_progress:
        verdicts = verify(reranker, cases, on_progress)
    failed = [verdict.case.name for verdict in verdicts if verdict.passed is False]
    if as_json:
        typer.echo(cases_to_json(verdicts, collect_provenance(reranker)))
    else:
        for verdict in verdicts:
            screen.show(case_table(verdict))
        judged = sum(verdict.passed is not None for verdict in verdicts)
        good = f"[green]All is well:[/] {judged} of {judged} judged cases agree."
        screen.show(f"[red]Not well:[/] {', '.join(failed)}." if failed else good)
        _say_who(reranker, screen)
    if failed:
        raise typer.Exit(1)


def _record(
    reranker: Qwen3Reranker,
    questions: Sequence[Question] | None,
    file: Path,
    screen: Screen,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    from rich.text import Text

    from qwen3_rerank_plugins.cli.verify_output import recording_to_json
    from qwen3_rerank_plugins.verify.cases import built_in_questions
    from qwen3_rerank_plugins.verify.questions import count_documents
    from qwen3_rerank_plugins.verify.recording import write_recording
    from qwen3_rerank_plugins.verify.verification import record

    if questions is None:
        questions = built_in_questions()
    with _scoring(reranker, screen, questions) as on_progress:
        recording = record(reranker, questions, on_progress)
    write_recording(file, recording, overwrite=overwrite)
    if as_json:
        typer.echo(recording_to_json(file, recording))
        return
    what = f"Recorded {counted(count_documents(questions), 'score')} of {counted(len(questions), 'query')} in "
    screen.show(Text.assemble(what, (str(file), "bold"), "."))
    _say_who(reranker, screen)


def _check(
    reranker: Qwen3Reranker, recording: Recording, tolerance: float | None, screen: Screen, *, as_json: bool
) -> None:
    from qwen3_rerank_plugins.cli.verify_output import recheck_table, recheck_to_json
    from qwen3_rerank_plugins.verify.verification import check

    questions = [recorded.question for recorded in recording.questions]
    with _scoring(reranker, screen, questions) as on_progress:
        found = check(reranker, recording, tolerance, on_progress)
    if as_json:
        typer.echo(recheck_to_json(found))
    else:
        screen.show(recheck_table(found))
        _say_who(reranker, screen)
    if not found.passed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _scoring(
    reranker: Qwen3Reranker, screen: Screen, questions: Sequence[Question]
) -> Iterator[Callable[[float], None]]:
    """Load the model, then show how many documents are scored."""
    from qwen3_rerank_plugins.cli.loading import load
    from qwen3_rerank_plugins.verify.questions import count_documents

    documents = count_documents(questions)
    load(reranker, screen)
    with screen.progress("Scoring", documents) as on_progress:
        yield on_progress


def _say_who(reranker: Qwen3Reranker, screen: Screen) -> None:
    from rich.text import Text

    from qwen3_rerank_plugins.cli.loading import describe

    screen.show(Text(f"Scored by {describe(reranker)}.", "dim"))


def _read_questions(
    files: Sequence[str],
    query: str | None,
    format: FormatName,
    text_field: str,
    instruction: str | None,
    note: Callable[[str], None],
) -> list[Question] | None:
    """The texts to be recorded; None for the package's own."""
    from qwen3_rerank_plugins.cli.inputs import TaskReader
    from qwen3_rerank_plugins.verify import Question

    if not files:
        return None
    return [
        Question(
            task.query,
            tuple(candidate.text for candidate in task.candidates),
            task.instruction if instruction is None else instruction,
            task.location,
        )
        for task in TaskReader(format, query, text_field, note).read(files)
    ]


def _refuse_without(needed: str, given: object, options: Mapping[str, object]) -> None:
    """Refuse options that would be ignored."""
    idle = [name for name, value in options.items() if value is not None]
    if given is None and idle:
        raise RequestError(f"{' and '.join(idle)} mean{'s' * (len(idle) == 1)} nothing without {needed}.")
