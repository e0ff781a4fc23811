"""The entries for LlamaHub in pyproject.toml are true."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from pathlib import Path
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.postprocessor.types import BaseNodePostprocessor

ROOT = Path(__file__).parents[2]
HUB: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["llamahub"]


def test_its_classes_are_all_that_the_adapter_offers_to_llama_index() -> None:
    adapter = importlib.import_module(HUB["import_path"])
    modules = [
        importlib.import_module(f"{adapter.__name__}.{found.name}") for found in pkgutil.iter_modules(adapter.__path__)
    ]
    offered = {
        it.__name__
        for module in modules
        for it in vars(module).values()
        if isinstance(it, type) and it.__module__ == module.__name__
        if issubclass(it, (BaseNodePostprocessor, BaseEmbedding))
    }
    assert set(HUB["class_authors"]) == offered
    assert [name for name in offered if getattr(adapter, name).class_name() != name] == []
    assert all(HUB["class_authors"].values())


def test_there_is_an_example_where_it_says_so() -> None:
    programs = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    assert HUB["contains_example"] is any(f"from {HUB['import_path']} import" in program for program in programs)
