"""The settings as command-line options: declared once, in the words of the facade, and shared by the commands.

Comes in: what was typed. Goes out: values that `Qwen3Reranker` takes; it alone decides which are sensible.
Must not know: files, tables, or torch, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qwen3_rerank_plugins.engine.settings import DEFAULT_MAX_LENGTH, AttentionName
from qwen3_rerank_plugins.engine.settings import DeviceMap as DeviceMapName
from qwen3_rerank_plugins.engine.settings import Dtype as DtypeName
from qwen3_rerank_plugins.engine.settings import LongDocuments as LongDocumentsName
from qwen3_rerank_plugins.engine.settings import OnNonfinite as OnNonfiniteName
from qwen3_rerank_plugins.engine.settings import Quantization as QuantizationName
from qwen3_rerank_plugins.remote.settings import ProtocolName
from qwen3_rerank_plugins.remote.settings import ServerScores as ServerScoresName
from qwen3_rerank_plugins.remote.settings import Template as TemplateName

_ENGINE = "Model and machine"
_SERVER = "Somebody else's server"
_RANKING = "Ranking"


def _number_or_auto(typed: str) -> int | str:
    if typed == "auto":
        return typed
    try:
        return int(typed)
    except ValueError:
        raise typer.BadParameter(f"{typed!r} is neither a whole number nor 'auto'.") from None


def _device_names(typed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in typed.split(","))


Model = Annotated[
    str, typer.Option(help='Hub id, local folder, or "demo" for the bundled checkpoint.', rich_help_panel=_ENGINE)
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit on the hub.", show_default="main", rich_help_panel=_ENGINE)
]
Device = Annotated[
    str,
    typer.Option(help='A torch device such as "cuda:1"; "auto" is CUDA, then MPS, then CPU.', rich_help_panel=_ENGINE),
]
Devices = Annotated[
    Any,  # tuple[str, ...] | None, of one word on the command line
    typer.Option(
        parser=_device_names,
        metavar="DEVICE,DEVICE...",
        help='Several devices, with a whole model on each, such as "cuda:0,cuda:1".',
        rich_help_panel=_ENGINE,
    ),
]
DeviceMap = Annotated[
    DeviceMapName | None,
    typer.Option(help="Spread one model over all GPUs, if none is large enough.", rich_help_panel=_ENGINE),
]
Dtype = Annotated[DtypeName, typer.Option(help="Number format of the weights.", rich_help_panel=_ENGINE)]
Attention = Annotated[
    AttentionName, typer.Option(help='Kernel; "auto" is flash attention wherever it runs.', rich_help_panel=_ENGINE)
]
Quantization = Annotated[
    QuantizationName | None,
    typer.Option(
        help='Weights of the layers in fewer bits: less memory, less exact. Needs the extra "quantization", or "fp8".',
        rich_help_panel=_ENGINE,
    ),
]
MaxBatchTokens = Annotated[
    Any,  # int | Literal["auto"], a union that typer has no word for
    typer.Option(
        parser=_number_or_auto,
        metavar="TOKENS|auto",
        help='Tokens of one forward pass; "auto" goes by free memory.',
        rich_help_panel=_ENGINE,
    ),
]
Threads = Annotated[
    Any,  # as above
    typer.Option(
        parser=_number_or_auto,
        metavar="NUMBER|auto",
        help='Threads of the CPU; "auto" goes by cores, quota and size of the model.',
        rich_help_panel=_ENGINE,
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the layers: a slow start, faster passes.", rich_help_panel=_ENGINE)
]
CacheDir = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="The cache folder.", show_default="the hub's", rich_help_panel=_ENGINE),
]
LocalFilesOnly = Annotated[
    bool, typer.Option("--local-files-only", help="Never touch the network.", rich_help_panel=_ENGINE)
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Let transformers run code from the checkpoint; no Qwen3-Reranker needs it.",
        rich_help_panel=_ENGINE,
    ),
]

Remote = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Ask the server there, instead of loading a model.", rich_help_panel=_SERVER),
]
Protocol = Annotated[ProtocolName, typer.Option(help="What the server speaks.", rich_help_panel=_SERVER)]
Template = Annotated[
    TemplateName | None, typer.Option(help="Who applies the prompt template; needed.", rich_help_panel=_SERVER)
]
Scores = Annotated[ServerScoresName, typer.Option(help="What the server's numbers are.", rich_help_panel=_SERVER)]
NoProbe = Annotated[
    bool, typer.Option("--no-probe", help="Trust the server's template unseen.", rich_help_panel=_SERVER)
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="Most that the server may take.", rich_help_panel=_SERVER)
]

Instruction = Annotated[
    str | None,
    typer.Option(
        help="What relevant means for your task, in English.",
        show_default="the set's own, or the model card's",
        rich_help_panel=_RANKING,
    ),
]
TopN = Annotated[
    int | None,
    typer.Option(min=0, help="Most documents to show for each query.", show_default="all", rich_help_panel=_RANKING),
]
MinScore = Annotated[
    float | None, typer.Option(min=0, max=1, help="Lowest probability to show, inclusive.", rich_help_panel=_RANKING)
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        help="Tokens of a whole prompt; only documents are ever cut.",
        show_default=f"{DEFAULT_MAX_LENGTH}, or the model's own limit if that is lower",
        rich_help_panel=_RANKING,
    ),
]
LongDocuments = Annotated[
    LongDocumentsName,
    typer.Option(
        help="Cut the end of what does not fit, refuse it, or read all of it in windows.", rich_help_panel=_RANKING
    ),
]
OnNonfinite = Annotated[
    OnNonfiniteName,
    typer.Option(
        help="Refuse a score that overflows in 16 bits, or compute it again in float32.", rich_help_panel=_RANKING
    ),
]

Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout, and nothing else.")]
