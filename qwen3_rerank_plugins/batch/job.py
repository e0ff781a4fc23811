"""A whole job: files of requests -> a folder of answers, one row for each, whatever was killed on the way.

Comes in: paths, a reranker, and where to run. Goes out: files, and a summary that counted them.
Must not know: lines, tables, terminals.
"""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data

from qwen3_rerank_plugins.batch.cluster import Pool, choose_pool, cluster
from qwen3_rerank_plugins.batch.manifest import claim, manifest_of
from qwen3_rerank_plugins.batch.partition_ranker import FORMATS, PartitionRanker, answers_file, failure_of
from qwen3_rerank_plugins.batch.source import Partition, Review, Source, find_files
from qwen3_rerank_plugins.engine.receipts import Receipt
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import BatchError
from qwen3_rerank_plugins.ray.answers import OnError
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
        receipt: what was not read of the documents, in this run.
    """

    rows: int
    errors: int
    partitions: int
    resumed: int
    receipt: Receipt


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
        SettingsError: the folder belongs to another job, or the cluster cannot do what was asked.
        BatchError: Ray gave up, or not every row has its one answer.
        RerankError: the model cannot be loaded, or failed.
    """
    partition_rows = positive_int("partition_rows", partition_rows)
    files = find_files(Path(requests), list(FORMATS))
    source = Source(tuple(FORMATS[file.suffix.lower()].cut(file, partition_rows) for file in files))
    folder = Path(answers)
    claim(folder, manifest_of(source, partition_rows, reranker))
    partitions = source.partitions
    missing = [partition for partition in partitions if review(folder, partition) is None]
    done = source.rows - sum(partition.rows for partition in missing)
    on_progress(done, source.rows)
    receipt = Receipt()
    if missing:
        with cluster(address):
            pool = choose_pool(actors, gpus_per_actor, cpus_per_actor, work=len(missing))
            for found in _run(missing, pool, (reranker, on_error, str(folder.resolve()))):
                done += found.pop("rows")
                receipt += Receipt(**found)
                on_progress(done, source.rows)
    return _summary(source, folder, resumed=len(partitions) - len(missing), receipt=receipt)


def review(folder: Path, partition: Partition) -> Review | None:
    """A partition's file of answers, read again; None unless it holds one answer for each row, in their order."""
    file = answers_file(folder, partition)
    try:
        found = FORMATS[file.suffix].review(file)
    except Exception:  # whatever is wrong with it, it is to be made again
        return None
    wanted = list(range(partition.first_row, partition.first_row + partition.rows))
    return found if found.rows == wanted else None


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


def _summary(source: Source, folder: Path, *, resumed: int, receipt: Receipt) -> Summary:
    """Every answer counted, in the files as they are."""
    reviews = {partition: review(folder, partition) for partition in source.partitions}
    broken = [answers_file(folder, partition).name for partition, found in reviews.items() if found is None]
    if broken:
        raise BatchError(
            f"{len(broken)} of {len(reviews)} files in {folder} do not hold one answer for each of their rows, "
            f"{broken[0]} for one. Run the same again to make them anew."
        )
    errors = sum(found.errors for found in reviews.values() if found)
    for unfinished in folder.glob(".part-*"):  # of runs that were killed
        unfinished.unlink(missing_ok=True)
    return Summary(source.rows, errors, len(reviews), resumed, receipt)
