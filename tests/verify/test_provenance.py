"""What made scores, and what of it has changed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins import Qwen3Reranker, __version__
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.text.template import template_hash
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from qwen3_rerank_plugins.verify.provenance import Change, Provenance, collect_provenance, list_changes
from tests.cache import cache_with


def test_the_provenance_says_what_ran_and_never_auto() -> None:
    provenance = collect_provenance(Qwen3Reranker("demo", device="cpu", dtype="bfloat16", max_length=700))
    assert provenance == Provenance(
        model="demo",
        commit=None,
        template=template_hash(),
        dtype="bfloat16",
        device="cpu",
        attention="sdpa",
        quantization=None,
        max_length=700,
        package=__version__,
        torch=torch.__version__,
        transformers=importlib.metadata.version("transformers"),
        tokenizers=importlib.metadata.version("tokenizers"),
    )


def test_a_model_of_the_hub_has_its_commit(tmp_path: Path) -> None:
    cache = cache_with(DEMO_FOLDER, "owner/name", tmp_path)
    assert collect_provenance(Qwen3Reranker("owner/name", cache_dir=str(cache))).commit == "0" * 40


def test_nothing_is_fetched_for_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="is not in the cache, and fetching is switched off"):
        collect_provenance(Qwen3Reranker("owner/name", cache_dir=str(tmp_path)))


def test_every_field_that_differs_is_a_change_in_the_order_of_the_fields() -> None:
    before = collect_provenance(Qwen3Reranker("demo", device="cpu"))
    assert list_changes(before, before) == []
    now = dataclasses.replace(before, quantization="int8", max_length=99, transformers="99.0", commit="abc")
    assert list_changes(before, now) == [
        Change("commit", "none", "abc"),
        Change("quantization", "none", "int8"),
        Change("max_length", "8192", "99"),
        Change("transformers", before.transformers, "99.0"),
    ]
    for field in dataclasses.fields(Provenance):
        changed = dataclasses.replace(before, **{field.name: "other"})
        assert [change.what for change in list_changes(before, changed)] == [field.name]
