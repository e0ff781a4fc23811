"""`qwen3-rerank verify`: compare scores with published ones, or with scores recorded earlier."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.inputs import FormatName
from qwen3_rerank_plugins.cli.options import ENGINE, EngineOptions, engine_options
from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, DEFAULT_MODEL
from qwen3_rerank_plugins.errors import RequestError

if TYPE_CHECKING:
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.reranker import Qwen3Reranker
    from qwen3_rerank_plugins.verify import Question, Recording


@engine_options(ENGINE, omit=("model",))
def verify(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="SET", help="Texts to record, as `rank` reads them; - is stdin.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Golden file to write: the texts, their scores and their provenance."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Golden file to score again; exit code 1 if a score has moved."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --check: largest difference allowed, in log-odds.",
            show_default="0.001 in float32, 0.15 in 16 bits",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --record: replace an existing file.")] = False,
    query: Annotated[
        str | None, typer.Option(help="With --record: query; required for documents, refused for sets.")
    ] = None,
    format: Annotated[
        FormatName,
        typer.Option(help='With --record: format of all files; "auto" detects it from names and first lines.'),
    ] = "auto",
    text_field: Annotated[
        str, typer.Option(help="With --record: field or column that holds a document's text.")
    ] = "text",
    instruction: options.Instruction = None,
    max_length: Annotated[
        int | None,
        options.in_prompt(
            help=options.MAX_LENGTH_HELP, show_default=f"{DEFAULT_MAX_LENGTH}, or with --check as recorded"
        ),
    ] = None,
    as_json: options.Json = False,
    model: Annotated[
        str | None,
        options.in_model(help=options.MODEL_HELP, show_default=f"{DEFAULT_MODEL}, or with --check as recorded"),
    ] = None,
    *,
    engine: EngineOptions,
) -> None:
    """Compare scores with published ones, or record your own and compare after an upgrade."""
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.verify.recording import check_target, read_recording

    if record and check:
        raise RequestError("--record writes a golden file and --check reads one. Give only one of the two.")
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
        model = recording.provenance.model if model is None else model
        max_length = recording.provenance.max_length if max_length is None else max_length
    reranker = engine.reranker(model=DEFAULT_MODEL if model is None else model, max_length=max_length)
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
    cases = cases_for(fetch(reranker.settings, screen))  # fails before the weights are loaded
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
        _show_model(reranker, screen)
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
    _show_model(reranker, screen)


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
        _show_model(reranker, screen)
    if not found.passed:
        raise typer.Exit(1)


@contextlib.contextmanager
def _scoring(
    reranker: Qwen3Reranker, screen: Screen, questions: Sequence[Question]
) -> Iterator[Callable[[float], None]]:
    """Load the model, then show how many documents have been scored."""
    from qwen3_rerank_plugins.cli.loading import load
    from qwen3_rerank_plugins.verify.questions import count_documents

    documents = count_documents(questions)  # fails on an empty set before the model is loaded
    load(reranker, screen)
    with screen.progress("Scoring", documents) as on_progress:
        yield on_progress


def _show_model(reranker: Qwen3Reranker, screen: Screen) -> None:
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
    """Return the texts to record; None means those of the published cases."""
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
    """Raise RequestError if options that need another one would be ignored."""
    ignored = [name for name, value in options.items() if value is not None]
    if given is None and ignored:
        raise RequestError(f"{' and '.join(ignored)} mean{'s' * (len(ignored) == 1)} nothing without {needed}.")
