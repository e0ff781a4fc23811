"""Ask from many threads and coroutines at once, with or without faults, and check every answer.

    python -m tests.load.soak --faults 0 --requests 5000 --out benchmarks/results/load.json     # the load test
    python -m tests.load.soak --minutes 30 --out benchmarks/results/soak.json                   # the soak

Every question is first asked alone. Then all callers ask at once through every interface of the package, and each
answer must equal the first one: scores within 1e-4 in log-odds, and no document missing. Faults occur at random: bad
input, cancellation, batches that raise, NaN scores, too little memory, and engines that are closed. The callers
affected must get the documented errors, and no other caller may notice. Exits with 1 if an answer was lost or wrong,
or if memory, threads or open files grow. Writes a record and a picture beside it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn

from qwen3_rerank_plugins._records.record import as_table, make_record, note_circumstances, write_record
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.load.expected_answers import TOLERANCE
from tests.load.faults import SOAK_RATES
from tests.load.outcomes import Outcomes
from tests.load.picture import draw_run
from tests.load.results import LoadPlan, LoadResults
from tests.load.run import run_load
from tests.load.tables import grids_of
from tests.load.texts import gather_texts

MOST_SAMPLES = 180
"""Samples in a record."""
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("QWEN3_RERANK_TEST_DATA", ROOT.parent / "shared" / "data"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many callers at once, with faults or without.")
    parser.add_argument("--requests", type=int, help="number of calls; 5,000 if --minutes is not set either")
    parser.add_argument("--minutes", type=float, help="duration")
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--coroutines", type=int, default=64)
    parser.add_argument("--questions", type=int, default=300, help="number of questions; each is asked alone first")
    parser.add_argument("--faults", type=float, default=1.0, help="factor for the rates of faults; 0 is none")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="in log-odds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-batch-tokens", type=int, default=2048, help="small, for several batches per request")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of test data; without it, bundled passages")
    parser.add_argument("--out", type=Path, required=True, help="file for the record; the picture goes beside it")
    return parser.parse_args()


def make_plan(options: argparse.Namespace) -> LoadPlan:
    seconds = options.minutes * 60 if options.minutes else None
    return LoadPlan(
        requests=options.requests or (None if seconds else 5_000),
        seconds=seconds,
        threads=options.threads,
        coroutines=options.coroutines,
        questions=options.questions,
        seed=options.seed,
        rates=SOAK_RATES.times(options.faults),
        engine={
            "model": options.model,
            "device": options.device,
            "dtype": options.dtype,
            "max_batch_tokens": options.max_batch_tokens,
        },
        tolerance=options.tolerance,
        sample_every=max(0.5, min(10.0, (seconds or 60) / MOST_SAMPLES)),
    )


def run_with_bar(plan: LoadPlan, data: Path, console: Console) -> LoadResults:
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        tasks: dict[str, Any] = {}

        def tell(stage: str, share: float, outcomes: Outcomes) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=1.0)
            faults = f", {sum(outcomes.met.values()):,} faults, {outcomes.wrong} wrong" if outcomes.started else ""
            right = f": {sum(outcomes.answered.values()):,} right" if outcomes.started else ""
            bar.update(tasks[stage], completed=share, description=f"{stage}{right}{faults}")

        return run_load(plan, gather_texts(data), tell)


def main() -> None:
    options = arguments()
    logging.getLogger("qwen3_rerank_plugins").setLevel(logging.ERROR)  # thousands of documents are truncated on purpose
    plan = make_plan(options)
    placement = choose_placement(EngineSettings(**plan.engine))
    around = note_circumstances(Path(options.model).name, placement.device, placement.dtype)
    console = Console(stderr=True)
    results = run_with_bar(plan, options.data, console)
    record = make_record("soak" if options.faults > 0 else "load", around, results)
    write_record(options.out, record)
    draw_run(record, options.out.with_suffix(".png"))
    for grid in grids_of(record):
        console.print(as_table(grid))
    for complaint in results.complaints:
        console.print(complaint, markup=False)
    sys.stderr.flush()
    # lost callers still wait, and a normal exit would wait for them
    os._exit(1) if results.lost else sys.exit(1 if results.failures else 0)


if __name__ == "__main__":
    main()
