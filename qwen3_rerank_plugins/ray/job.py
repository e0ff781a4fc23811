"""Rerank files of requests into a folder of answers, with one answer per row. A job that was killed can be resumed."""

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
from qwen3_rerank_plugins.ray.manifest import check_model, claim, manifest_of, read_model
from qwen3_rerank_plugins.ray.output_folder import FINISHED, Finished, locked, read_finished
from qwen3_rerank_plugins.ray.partition_ranker import FORMATS, PartitionRanker, answers_file, failure_of
from qwen3_rerank_plugins.ray.source import Partition, Review, find_files, partitions_of
from qwen3_rerank_plugins.reranker import Qwen3Reranker

PARTITION_ROWS = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """The contents of the folder of answers, counted in its files.

    Attributes:
        rows: number of requests, each of which has one answer.
        errors: number of answers that hold an error, because their request could not be ranked.
        partitions: number of files of answers.
        resumed: number of files that an earlier run had finished.
        redone: number of files that had been changed since an earlier run, and were computed again.
        receipt: what was truncated or rescored in this run.
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
    """Rerank every row of JSONL or Parquet files. Called again after a failure, it computes only what is missing.

    Args:
        requests: a file, or a folder of files; see docs/scaling.md for the rows.
        answers: a folder, which is made if it is missing. It gets one file per partition, in the format of the
            requests.
        reranker: the reranker to use; the actors load its model, and this process does not.
        on_error: "raise" ends the job if a row cannot be ranked; "column" puts the error in the column `error`.
        partition_rows: rows per partition, which is the unit of writing and resuming.
        address: address of a Ray cluster; None means RAY_ADDRESS, or else a cluster that is started on this machine
            and stopped at the end.
        actors: number of actors; None means one per GPU of the cluster, or one if there are no GPUs.
        gpus_per_actor: GPUs per actor; None means 1 if there are GPUs.
        cpus_per_actor: CPUs per actor; torch uses as many threads. None means 1 beside a GPU, or else an equal share of
            all CPUs.
        on_progress: called with the number of rows answered so far and the total.

    Raises:
        RequestError: the input cannot be read, or a row cannot be ranked and `on_error` is "raise".
        SettingsError: the folder belongs to another job or model, is in use, or cannot be written to; or the cluster
            lacks the resources for an actor.
        BatchError: Ray failed, a disk is full, the model changed during the job, or not every row has exactly one
            answer.
        RerankError: the model cannot be loaded, or failed.
    """
    partition_rows = positive_int("partition_rows", partition_rows)
    paths = find_files(Path(requests), list(FORMATS))
    files = [FORMATS[path.suffix.lower()].split(path, partition_rows) for path in paths]
    partitions = partitions_of(files)
    total = sum(partition.rows for partition in partitions)
    folder = Path(answers)
    manifest = manifest_of(files, partition_rows, reranker)
    with locked(folder):
        claim(folder, manifest)
        missing, redone = _missing(partitions, folder)
        _check_model(folder, reranker, missing)
        done = total - sum(partition.rows for partition in missing)
        on_progress(done, total)
        report = ScoringReport()
        if missing:
            with cluster(address):
                pool = choose_pool(actors, gpus_per_actor, cpus_per_actor, partitions=len(missing))
                for found in _run(missing, pool, (reranker, on_error, str(folder.resolve()))):
                    done += found.pop("rows")
                    report += ScoringReport(**found)
                    on_progress(done, total)
        rows, errors = _count(partitions, folder)
        return Summary(rows, errors, len(partitions), len(partitions) - len(missing), redone, report)


def review(folder: Path, partition: Partition, finished: Finished) -> Review | None:
    """Read a partition's file of answers.

    Args:
        folder: the folder of answers.
        partition: the requests of the file.
        finished: the entries of the actors' logs.

    Returns:
        None unless the file is as an actor finished it, and holds one answer for each row, in the order of the rows.
    """
    file = answers_file(folder, partition)
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() not in finished.get(file.name, ()):
            return None
        found = FORMATS[file.suffix].review(content)
    except Exception:  # a file with any defect is computed again
        return None
    wanted = list(range(partition.first_row, partition.first_row + partition.rows))
    return found if found.rows == wanted else None


def _missing(partitions: Sequence[Partition], folder: Path) -> tuple[list[Partition], int]:
    """Partitions to compute, and how many of them have a file that is not as an actor finished it."""
    missing = [partition for partition, found in _reviews(partitions, folder).items() if found is None]
    damaged = [file.name for file in (answers_file(folder, partition) for partition in missing) if file.exists()]
    if damaged:
        logger.warning(
            f"{counted(len(damaged), 'file', 'does')} not match the digest that an earlier run recorded and will be "
            f"computed again: {', '.join(damaged[:5])}{', ...' if len(damaged) > 5 else ''}."
        )
    return missing, len(damaged)


def _reviews(partitions: Sequence[Partition], folder: Path) -> dict[Partition, Review | None]:
    finished = read_finished(folder)
    return {partition: review(folder, partition, finished) for partition in partitions}


def _check_model(folder: Path, reranker: Qwen3Reranker, missing: Sequence[Partition]) -> None:
    """Check the model here if nothing is missing. Otherwise the actors check the one that they load."""
    if reranker.loads_a_model and (folder / FINISHED).exists():
        before = read_model(folder)
        now = None if missing else fingerprint_on_disk(reranker.settings)
        if now:
            check_model(folder, before, now)


def _run(missing: Sequence[Partition], pool: Pool, settings: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Yield the reports of partitions in the order in which they finish. Ray restarts actors that die."""
    # one block per partition, so that a killed actor loses only its partition
    rows = ray.data.from_items([dataclasses.asdict(one) for one in missing], override_num_blocks=len(missing))
    rows.context.enable_progress_bars = False
    reports = rows.map_batches(
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
    log.setLevel(logging.CRITICAL)  # its errors repeat the one that is raised
    try:
        for report in reports.iter_rows():
            failure = failure_of(report)
            if failure:
                raise failure
            del report["failure"]
            yield report
    except ray.exceptions.RayError as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise BatchError(f"Ray failed: {cause} Finished files are kept. Run the job again to resume it.") from error
    finally:
        log.setLevel(level)


def _count(partitions: Sequence[Partition], folder: Path) -> tuple[int, int]:
    """Count the answers, and the errors among them, in the files."""
    reviews = _reviews(partitions, folder)
    broken = [answers_file(folder, partition).name for partition, found in reviews.items() if found is None]
    if broken:
        raise BatchError(
            f"{share(len(broken), len(reviews), 'file', 'does')} not hold one answer for each row as an actor finished "
            f"it, for example {broken[0]} in {folder}. Run the job again to compute what is missing."
        )
    for unfinished in folder.glob(".part-??????.*.*.*"):  # from killed runs of this job, because the folder is locked
        unfinished.unlink(missing_ok=True)
    found = [review for review in reviews.values() if review]
    return sum(len(review.rows) for review in found), sum(review.errors for review in found)
