"""One partition -> its file of answers, whole or not at all: what an actor does."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
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
from qwen3_rerank_plugins.ray.answers import Answer, Answerer, OnError
from qwen3_rerank_plugins.ray.fingerprint import LoadedModel
from qwen3_rerank_plugins.ray.jsonl import Jsonl
from qwen3_rerank_plugins.ray.model_file import claim_model
from qwen3_rerank_plugins.ray.output_folder import FinishedLog, writing
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
"""Ray starts a killed actor again, and its partition, without end; one that kills every actor has to stop the job."""


def answers_file(folder: Path, partition: Partition) -> Path:
    """Where a partition's answers belong."""
    return folder / f"part-{partition.number:06d}{FORMATS[Path(partition.path).suffix.lower()].suffix}"


class PartitionRanker:
    """A stage of Ray Data: batches of one partition in, receipts out. Answers go to files, not through Ray.

    Args:
        reranker: travels without its token; nodes that need one have HF_TOKEN.
        on_error: see `Answerer`.
        folder: where the answers go; all nodes must see it, and the requests.
        run: the name of this run of the job.
    """

    def __init__(self, reranker: Qwen3Reranker, on_error: OnError, folder: str, run: str) -> None:
        self._answerer = Answerer(reranker, on_error)
        self._folder = Path(folder)
        self._run = run
        self._finished = FinishedLog(self._folder)
        self._model: LoadedModel | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A foreseen error is data here: Ray would wrap it, and log it at length."""
        (fields,) = batch.to_pylist()
        receipt, failure = ScoringReport(), None
        try:
            receipt = self._answer(Partition(**fields))
        except RerankError as error:
            failure = error
        except OSError as error:
            failure = BatchError(
                f"{socket.gethostname()} cannot read {error.filename or 'a file'}: {error.strerror or error}. On a "
                "cluster, every node must see requests, answers and a local model under the same name."
            )
        row: dict[str, Any] = {
            "rows": fields["rows"],
            **dataclasses.asdict(receipt),
            "failure": failure and pickle.dumps(failure),
        }
        return pa.table({name: pa.array([value]) for name, value in row.items()})

    def _answer(self, partition: Partition) -> ScoringReport:
        self._load()
        file = answers_file(self._folder, partition)
        kind = FORMATS[Path(partition.path).suffix.lower()]
        content = io.BytesIO()
        with self._whole_or_nothing(file, content):
            answers: list[Answer] = kind.answer(partition, self._answerer.answer, content)
            if self._model:
                self._model.check_unchanged()
        return sum((answer.receipt for answer in answers), ScoringReport())

    def _load(self) -> None:
        """The model, and what it may be known by, before anything is answered with it. A server has its own."""
        if self._model or not self._answerer.reranker.loads_a_model:
            return
        model = LoadedModel(self._answerer.reranker.settings)
        self._answerer.reranker.warmup()
        model.check_loaded()
        claim_model(self._folder, model.fingerprint)
        self._model = model

    @contextlib.contextmanager
    def _whole_or_nothing(self, file: Path, content: io.BytesIO) -> Iterator[None]:
        """A file that gets its name when it is complete. One that never did tells of an actor that was killed."""
        killed = len(list(self._folder.glob(f".{file.name}.{self._run}.*")))
        if killed >= MOST_ATTEMPTS:
            raise BatchError(
                f"{counted(killed, 'actor', 'was')} killed in a row while working on {file.name}, most likely for lack "
                "of memory. Give each actor more, or lower --max-batch-tokens or --partition-rows."
            )
        unfinished = self._folder / f".{file.name}.{self._run}.{uuid.uuid4().hex}"
        try:
            with writing(file):
                unfinished.touch()
            yield
            with writing(file):
                _write(unfinished, content.getvalue())
                self._finished.add(file.name, hashlib.sha256(content.getvalue()).hexdigest())
                unfinished.replace(file)
        except Exception:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def failure_of(receipt: dict[str, Any]) -> RerankError | None:
    """What stopped a partition, if anything did."""
    pickled: bytes | None = receipt["failure"]
    failure: RerankError | None = pickle.loads(pickled) if pickled else None
    return failure
