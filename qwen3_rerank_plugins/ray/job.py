"""A whole job: files of requests -> a folder of answers, one row for each, whatever was killed on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data

from qwen3_rerank_plugins._plurals import counted, share
from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.report import ScoringReport
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import BatchError
from qwen3_rerank_plugins.ray.answers import OnError
from qwen3_rerank_plugins.ray.cluster import Pool, choose_pool, cluster
from qwen3_rerank_plugins.ray.fingerprint import fingerprint_on_disk
from qwen3_rerank_plugins.ray.manifest import claim, manifest_of
from qwen3_rerank_plugins.ray.model_file import check_model, read_model
from qwen3_rerank_plugins.ray.output_folder import FOLDER, Finished, locked, read_finished
from qwen3_rerank_plugins.ray.partition_ranker import FORMATS, PartitionRanker, answers_file, failure_of
from qwen3_rerank_plugins.ray.source import Partition, Review, Source, find_files
from qwen3_rerank_plugins.reranker import Qwen3Reranker

PARTITION_ROWS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """What stands in the folder now, counted in its files.

    Attributes:
        rows: requests of the input, each answered once.
        errors: how many of the answers say why their request could not be ranked.
        partitions: files of answers.
        resumed: how many of them were there before.
        redone: files of answers that were there before, and were not as an actor had left them: they were made anew.
        receipt: what was not read of the documents, in this run.
    """

    rows: int
    errors: int
    partitions: int
    resumed: int
    redone: int
    receipt: ScoringReport


def rerank_files(
    requests: str | Path,
    answers: str | Path,
    reranker: Qwen3Reranker,
    *,
    on_error: OnError = "raise",
    partition_rows: int = PARTITION_ROWS,
    address: str | None = None,
    actors: int | None = None,
    gpus_per_actor: float | None = None,
    cpus_per_actor: float | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Rerank every row of JSONL or Parquet files; called again after a failure, do only what is missing.

    Args:
        requests: a file, or a folder of files; see docs/scaling.md for the rows.
        answers: a folder, made if it is not there; it gets one file a partition, of the kind of the requests.
        reranker: what to rank with; it is loaded in the actors, not here.
        on_error: a row that cannot be ranked fails the job, or has its error in the column `error`.
        partition_rows: rows that are answered, and written, as one.
        address: of a Ray cluster; None is RAY_ADDRESS, else one that is started here and stopped at the end.
        actors: how many; None is one a GPU of the cluster, or a single one without GPUs.
        gpus_per_actor: None is one where there are any.
        cpus_per_actor: torch's threads; None is one beside a GPU, and where there is none, an equal share of all.
        on_progress: told how many rows are answered, of how many.

    Raises:
        RequestError: the input cannot be read, or a row cannot be ranked and `on_error` is "raise".
        SettingsError: the folder belongs to another job or another model, is in use, or cannot be written to; or the
            cluster cannot do what was asked.
        BatchError: Ray gave up, a disk is full, the model changed while it was in use, or not every row has its one
            answer.
        RerankError: the model cannot be loaded, or failed.
    """
    partition_rows = positive_int("partition_rows", partition_rows)
    files = find_files(Path(requests), list(FORMATS))
    source = Source(tuple(FORMATS[file.suffix.lower()].cut(file, partition_rows) for file in files))
    folder = Path(answers)
    manifest = manifest_of(source, partition_rows, reranker)
    with locked(folder):
        claim(folder, manifest)
        missing, redone = _missing(source, folder)
        _check_model(folder, reranker, missing)
        done = source.rows - sum(partition.rows for partition in missing)
        on_progress(done, source.rows)
        receipt = ScoringReport()
        if missing:
            with cluster(address):
                pool = choose_pool(actors, gpus_per_actor, cpus_per_actor, work=len(missing))
                for found in _run(missing, pool, (reranker, on_error, str(folder.resolve()))):
                    done += found.pop("rows")
                    receipt += ScoringReport(**found)
                    on_progress(done, source.rows)
        resumed = len(source.partitions) - len(missing)
        return _summary(source, folder, resumed=resumed, redone=redone, receipt=receipt)


def review(folder: Path, partition: Partition, finished: Finished) -> Review | None:
    """A partition's file of answers, read again.

    Args:
        folder: where it is.
        partition: what it answers.
        finished: what the actors noted.

    Returns:
        None unless it is what an actor has finished, and holds one answer for each row, in their order.
    """
    file = answers_file(folder, partition)
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() not in finished.get(file.name, ()):
            return None
        found = FORMATS[file.suffix].review(content)
    except Exception:  # whatever is wrong with it, it is to be made again
        return None
    wanted = list(range(partition.first_row, partition.first_row + partition.rows))
    return found if found.rows == wanted else None


def _missing(source: Source, folder: Path) -> tuple[list[Partition], int]:
    """Partitions that have to be answered, and how many of them have a file that is not what an actor finished."""
    finished = read_finished(folder)
    missing = [partition for partition in source.partitions if review(folder, partition, finished) is None]
    damaged = [file.name for file in (answers_file(folder, partition) for partition in missing) if file.exists()]
    if damaged:
        logger.warning(
            f"{counted(len(damaged), 'file', 'is')} not what an earlier run had finished, and will be made anew: "
            f"{', '.join(damaged[:5])}{', ...' if len(damaged) > 5 else ''}."
        )
    return missing, len(damaged)


def _check_model(folder: Path, reranker: Qwen3Reranker, missing: Sequence[Partition]) -> None:
    """Actors compare what they load. Where nothing is left to do, the answers still have to be this model's."""
    if not reranker.loads_a_model or not (folder / FOLDER).exists():
        return
    before = read_model(folder)
    found = None if missing else fingerprint_on_disk(reranker.settings)
    if found:
        check_model(folder, before, found)


def _run(missing: Sequence[Partition], pool: Pool, settings: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Receipts as partitions are done, in no order. Ray makes actors that die anew, and repeats what they had."""
    # a block each: what is lost with an actor is its partition, and no other
    rows = ray.data.from_items([dataclasses.asdict(one) for one in missing], override_num_blocks=len(missing))
    rows.context.enable_progress_bars = False
    receipts = rows.map_batches(
        PartitionRanker,
        fn_constructor_args=(*settings, uuid.uuid4().hex),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool.actors),
        num_gpus=pool.gpus,
        num_cpus=pool.cpus,
    )
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what else it says, the error that is raised says, too
    try:
        for receipt in receipts.iter_rows():
            failure = failure_of(receipt)
            if failure:
                raise failure
            del receipt["failure"]
            yield receipt
    except ray.exceptions.RayError as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise BatchError(f"Ray gave up: {cause} What was finished stays: run the same again to go on.") from error
    finally:
        log.setLevel(level)


def _summary(source: Source, folder: Path, *, resumed: int, redone: int, receipt: ScoringReport) -> Summary:
    """Every answer counted, in the files as they are."""
    finished = read_finished(folder)
    reviews = {partition: review(folder, partition, finished) for partition in source.partitions}
    broken = [answers_file(folder, partition).name for partition, found in reviews.items() if found is None]
    if broken:
        raise BatchError(
            f"{share(len(broken), len(reviews), 'file', 'does')} not hold one answer for each row as it was finished: "
            f"{broken[0]} in {folder} for one. Run the same again to make what is missing anew."
        )
    errors = sum(found.errors for found in reviews.values() if found)
    for unfinished in folder.glob(".part-??????.*.*.*"):  # of this job's killed runs: nobody else holds the lock
        unfinished.unlink(missing_ok=True)
    return Summary(source.rows, errors, len(reviews), resumed, redone, receipt)
