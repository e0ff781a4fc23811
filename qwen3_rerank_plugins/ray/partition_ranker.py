"""The work of an actor: rank one partition and write its file of answers, completely or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import pickle
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.engine.report import ScoringReport
from qwen3_rerank_plugins.errors import BatchError, RerankError
from qwen3_rerank_plugins.ray.answers import Answerer, OnError
from qwen3_rerank_plugins.ray.fingerprint import LoadedModel
from qwen3_rerank_plugins.ray.jsonl import Jsonl
from qwen3_rerank_plugins.ray.manifest import claim_model
from qwen3_rerank_plugins.ray.output_folder import FinishedLog, disk_errors, write_durably
from qwen3_rerank_plugins.ray.parquet import Parquet
from qwen3_rerank_plugins.ray.source import Format, Partition
from qwen3_rerank_plugins.reranker import Qwen3Reranker

FORMATS: dict[str, Format] = {
    ".jsonl": Jsonl(),
    ".ndjson": Jsonl(),
    ".json": Jsonl(),
    ".parquet": Parquet(),
}
"""By the suffix of the requests."""
MOST_ATTEMPTS = 4
"""Ray would restart a killed actor and its partition forever, so a partition that kills every actor ends the job."""


def answers_file(folder: Path, partition: Partition) -> Path:
    """The path of a partition's answers."""
    return folder / f"part-{partition.number:06d}{FORMATS[Path(partition.path).suffix.lower()].suffix}"


class PartitionRanker:
    """A stage of Ray Data that takes one partition per batch and returns a report. Answers go to files, not to Ray.

    Args:
        reranker: it is pickled without its token, so nodes that need a token must have HF_TOKEN.
        on_error: see `Answerer`.
        folder: the folder of answers; all nodes must see it and the requests.
        run: name of this run of the job.
    """

    def __init__(self, reranker: Qwen3Reranker, on_error: OnError, folder: str, run: str) -> None:
        self._answerer = Answerer(reranker, on_error)
        self._folder = Path(folder)
        self._run = run
        self._finished = FinishedLog(self._folder)
        self._model: LoadedModel | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return expected errors as data, because Ray would wrap them and log them at length."""
        (fields,) = batch.to_pylist()
        report, failure = ScoringReport(), None
        try:
            report = self._answer(Partition(**fields))
        except RerankError as error:
            failure = error
        except OSError as error:
            failure = BatchError(
                f"{socket.gethostname()} cannot read {error.filename or 'a file'}: {error.strerror or error}. On a "
                "cluster, every node must see requests, answers and a local model under the same name."
            )
        row: dict[str, Any] = {
            "rows": fields["rows"],
            **dataclasses.asdict(report),
            "failure": failure and pickle.dumps(failure),
        }
        return pa.table({name: pa.array([value]) for name, value in row.items()})

    def _answer(self, partition: Partition) -> ScoringReport:
        self._load()
        file = answers_file(self._folder, partition)
        content = io.BytesIO()
        with self._complete_or_missing(file, content):
            found = FORMATS[Path(partition.path).suffix.lower()].answer(partition, self._answerer.answer, content)
            if self._model:
                self._model.check_unchanged()
        return sum((answer.report for answer in found), ScoringReport())

    def _load(self) -> None:
        """Load a local model and compare its fingerprint before the first answer. A remote server is not checked."""
        if self._model or not self._answerer.reranker.loads_a_model:
            return
        model = LoadedModel(self._answerer.reranker.settings)
        self._answerer.reranker.warmup()
        model.check_loaded()
        claim_model(self._folder, model.fingerprint)
        self._model = model

    @contextlib.contextmanager
    def _complete_or_missing(self, file: Path, content: io.BytesIO) -> Iterator[None]:
        """Write a file that gets its name when it is complete. A temporary file left behind means a killed actor."""
        killed = len(list(self._folder.glob(f".{file.name}.{self._run}.*")))
        if killed >= MOST_ATTEMPTS:
            raise BatchError(
                f"{counted(killed, 'actor', 'was')} killed in a row while working on {file.name}, most likely for lack "
                "of memory. Give each actor more, or lower --max-batch-tokens or --partition-rows."
            )
        unfinished = self._folder / f".{file.name}.{self._run}.{uuid.uuid4().hex}"
        try:
            with disk_errors(file):
                unfinished.touch()
            yield
            with disk_errors(file):
                write_durably(unfinished, content.getvalue())
                self._finished.add(file.name, hashlib.sha256(content.getvalue()).hexdigest())
                unfinished.replace(file)
        except Exception:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise


def failure_of(report: dict[str, Any]) -> RerankError | None:
    """Return the error that stopped a partition, if there was one."""
    failure: RerankError | None = pickle.loads(report["failure"]) if report["failure"] else None
    return failure
