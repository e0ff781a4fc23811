"""`qwen3-rerank serve`: one model behind HTTP, for the clients of several protocols."""

from __future__ import annotations

import functools
import logging
import os
from typing import Annotated, Any

import typer

from qwen3_rerank_plugins.cli import options
from qwen3_rerank_plugins.cli.options import ENGINE, SCORING, EngineOptions, engine_options

KEY_VARIABLE = "QWEN3_RERANK_API_KEY"
in_http: Any = functools.partial(typer.Option, rich_help_panel="HTTP")


@engine_options(ENGINE, SCORING, ("timeout",))
def serve(
    host: Annotated[str, in_http(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, in_http(min=0, max=65535, help="Port to listen on; 0 lets the system choose.")] = 8000,
    allow_anyone: Annotated[
        bool, in_http("--allow-anyone", help="Listen on an address that others can reach, without an API key.")
    ] = False,
    served_name: Annotated[
        str | None, in_http(metavar="NAME", help="Name of the model in answers.", show_default="the model's")
    ] = None,
    embedding_model: Annotated[
        str | None,
        in_http(
            metavar="MODEL",
            help='Qwen3-Embedding for /v1/embeddings: a hub ID or a local folder. Needs the extra "embeddings".',
        ),
    ] = None,
    max_documents: Annotated[int, in_http(min=1, help="Maximum number of documents in one request.")] = 10_000,
    max_body: Annotated[int, in_http(min=1, metavar="MIB", help="Maximum size of one request, in MiB.")] = 32,
    shutdown: Annotated[
        int, in_http(min=1, metavar="SECONDS", help="Time for requests to finish after a signal to stop.")
    ] = 60,
    instruction: options.Instruction = None,
    max_waiting_tokens: options.MaxWaitingTokens = "auto",
    *,
    engine: EngineOptions,
) -> None:
    """Serve the model over HTTP to clients of Cohere, Jina, TEI, vLLM and OpenAI, with a page to try it."""
    from qwen3_rerank_plugins.cli.loading import quiet_libraries, warn_of_size
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.serve.server import run_server
    from qwen3_rerank_plugins.serve.settings import ServeSettings

    screen = Screen()
    settings = ServeSettings(
        host=host,
        port=port,
        api_key=os.environ.get(KEY_VARIABLE) or None,  # the process list shows options
        allow_anyone=allow_anyone,
        name=served_name,
        embedding_model=embedding_model,
        max_body_bytes=max_body * 2**20,
        max_documents=max_documents,
        shutdown_seconds=shutdown,
    )
    reranker = engine.reranker(instruction=instruction, max_waiting_tokens=max_waiting_tokens)
    warn_of_size(reranker.settings, screen)
    _log_to_stderr()
    with quiet_libraries():
        run_server(reranker, settings, lambda url: screen.note(f"listening at {url}, loading {engine.model}."))


def _log_to_stderr() -> None:
    """Print what the package and the web server log. No line holds a text of a request."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("qwen3_rerank_plugins", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)
