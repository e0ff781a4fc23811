"""The settings of `Qwen3Reranker` as command-line options, declared once and shared by the commands.

This module imports neither torch nor the reranker, so `--help` answers at once. The reranker validates the values.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from qwen3_rerank_plugins.engine import settings
from qwen3_rerank_plugins.remote import settings as remote_settings

if TYPE_CHECKING:
    from qwen3_rerank_plugins.reranker import Qwen3Reranker

Command = Callable[..., None]

# in Annotated, typer takes the first positional argument for the option's name
in_model: Any = functools.partial(typer.Option, rich_help_panel="Model")
in_prompt: Any = functools.partial(typer.Option, rich_help_panel="Prompt")
in_server: Any = functools.partial(typer.Option, rich_help_panel="Server")
in_limits: Any = functools.partial(typer.Option, rich_help_panel="Limits")
in_output: Any = functools.partial(typer.Option, rich_help_panel="Output")

MODEL_HELP = 'Model: a hub ID, a local folder, or "demo" for the bundled checkpoint.'
MAX_LENGTH_HELP = "Maximum tokens per prompt; only documents are ever truncated."


def _number_or_auto(typed: str) -> int | str:
    if typed == "auto":
        return typed
    try:
        return int(typed)
    except ValueError:
        raise typer.BadParameter(f"{typed!r} is neither a whole number nor 'auto'.") from None


_in_limits: Any = functools.partial(in_limits, parser=_number_or_auto)


def _device_names(typed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in typed.split(","))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Settings of `Qwen3Reranker` from the command line; a command's omitted options have their defaults.

    Fields with a parser are `Any`, because typer does not support their types.
    """

    model: Annotated[str, in_model(help=MODEL_HELP)] = settings.DEFAULT_MODEL
    revision: Annotated[str | None, in_model(help="Branch, tag or commit on the hub.", show_default="main")] = None
    device: Annotated[str, in_model(help='Torch device, e.g. "cuda:1"; "auto" tries CUDA, MPS, then CPU.')] = "auto"
    devices: Annotated[
        Any,
        in_model(
            parser=_device_names,
            metavar="DEVICE,DEVICE...",
            help='Devices that each run a whole copy of the model, such as "cuda:0,cuda:1".',
        ),
    ] = None
    device_map: Annotated[
        settings.DeviceMap | None, in_model(help="Spread one model over all GPUs, if it fits on none of them.")
    ] = None
    dtype: Annotated[settings.Dtype, in_model(help="Data type of the weights.")] = "auto"
    attention: Annotated[
        settings.AttentionName, in_model(help='Attention kernel; "auto" uses flash attention where it runs.')
    ] = "auto"
    kernels: Annotated[
        settings.KernelsName,
        in_model(
            help='Kernels of the layers; "auto" uses fused Triton kernels on CUDA, and the faster products on a CPU.'
        ),
    ] = "auto"
    quantization: Annotated[
        settings.Quantization | None,
        in_model(
            help="Quantization of the layers' weights: less memory, less exact scores. "
            'Needs the extra "quantization", or "fp8" for fp8.'
        ),
    ] = None
    max_batch_tokens: Annotated[
        Any, _in_limits(metavar="TOKENS|auto", help='Maximum tokens per batch; "auto" derives it from free memory.')
    ] = "auto"
    threads: Annotated[
        Any, _in_limits(metavar="NUMBER|auto", help='CPU threads; "auto" goes by cores, CPU quota and model size.')
    ] = "auto"
    cache: Annotated[
        str | None,
        in_model(
            metavar="FILE",
            help='File of scores, so that equal prompts are computed once; "memory" keeps them for this run.',
            show_default="none",
        ),
    ] = None
    cache_bytes: Annotated[int, in_model(metavar="BYTES", help="Maximum size of the score cache, about.")] = (
        settings.DEFAULT_CACHE_BYTES
    )
    compile: Annotated[bool, in_model("--compile", help="Compile the layers. The first call takes longer.")] = False
    cache_dir: Annotated[
        str | None, in_model(metavar="FOLDER", help="Cache folder for downloads.", show_default="the hub's")
    ] = None
    local_files_only: Annotated[bool, in_model("--local-files-only", help="Never access the network.")] = False
    trust_remote_code: Annotated[
        bool, in_model("--trust-remote-code", help="Run code from the checkpoint; no Qwen3-Reranker needs it.")
    ] = False

    max_length: Annotated[
        int | None,
        in_prompt(
            help=MAX_LENGTH_HELP,
            show_default=f"{settings.DEFAULT_MAX_LENGTH}, or the model's limit if that is lower",
        ),
    ] = None
    long_documents: Annotated[
        settings.LongDocuments,
        in_prompt(help="Documents that do not fit: truncate them, refuse them, or score them in windows."),
    ] = "truncate"
    on_nonfinite: Annotated[
        settings.OnNonfinite,
        in_model(help="Scores that overflow in 16 bits: refuse them, or compute them again in float32."),
    ] = "error"

    remote: Annotated[
        str | None, in_server(metavar="URL", help="Server that scores the documents, instead of a model loaded here.")
    ] = None
    protocol: Annotated[remote_settings.ProtocolName, in_server(help="Protocol of the server.")] = "auto"
    template: Annotated[
        remote_settings.Template | None,
        in_server(help="Side that applies the prompt template; required with --remote."),
    ] = None
    scores: Annotated[remote_settings.ServerScores, in_server(help="Kind of scores that the server returns.")] = "auto"
    no_probe: Annotated[bool, in_server("--no-probe", help="Do not check the server's template.")] = False
    timeout: Annotated[
        float | None,
        in_limits(metavar="SECONDS", help="Maximum seconds of one call, waiting included.", show_default="no limit"),
    ] = None

    def reranker(self, **others: Any) -> Qwen3Reranker:
        """Return a reranker with these settings and others, which take precedence. The model is not loaded yet.

        Raises:
            SettingsError: a value is malformed.
        """
        from qwen3_rerank_plugins.reranker import Qwen3Reranker

        chosen = {**vars(self), **others}
        chosen["probe"] = not chosen.pop("no_probe")
        if self.remote:  # the key comes from the environment, because the process list shows options
            chosen["api_key"] = os.environ.get("QWEN3_RERANK_API_KEY") or None
        return Qwen3Reranker(**chosen)


SCORING = ("max_length", "long_documents", "on_nonfinite")
SERVER = ("remote", "protocol", "template", "scores", "no_probe", "timeout")
CACHE = ("cache", "cache_bytes")
ENGINE = tuple(
    field.name for field in dataclasses.fields(EngineOptions) if field.name not in (*CACHE, *SCORING, *SERVER)
)


def engine_options(
    *groups: Sequence[str], omit: Collection[str] = (), **defaults: object
) -> Callable[[Command], Command]:
    """Give a command one option per named field of `EngineOptions`, in place of its parameter `engine`.

    Typer reads the options from the decorated command's `__signature__` and `__annotations__`.

    Args:
        groups: names of fields, such as `ENGINE`; their order is that of `--help`.
        omit: names to leave out of the groups.
        defaults: defaults of this command that differ from those of `EngineOptions`.
    """
    names = [name for group in groups for name in group if name not in omit]
    hints = get_type_hints(EngineOptions, include_extras=True)
    fields = inspect.signature(EngineOptions).parameters

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name != "engine"]
        added = [
            fields[name].replace(annotation=hints[name], default=defaults.get(name, fields[name].default))
            for name in names
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            engine = EngineOptions(**{name: values.pop(name) for name in names})
            command(**values, engine=engine)

        del run.__wrapped__  # inspect.unwrap and typing.get_type_hints would follow it to the undecorated command
        run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
        return run

    return decorate


Instruction = Annotated[
    str | None,
    in_prompt(
        help="Instruction for the model: what counts as relevant for your task, in English.",
        show_default="the set's, or the model card's",
    ),
]
TopN = Annotated[
    int | None, in_output(min=0, help="Maximum number of documents returned per query.", show_default="all")
]
MinScore = Annotated[float | None, in_output(min=0, max=1, help="Lowest probability that is returned, inclusive.")]
Json = Annotated[bool, in_output("--json", help="JSON on stdout and nothing else, for programs.")]
MaxWaitingTokens = Annotated[
    Any,
    _in_limits(
        metavar="TOKENS|auto",
        help='Tokens that may wait when a request arrives, or it is refused; "auto" is about 30 seconds of work.',
    ),
]
