"""Workloads: the shapes that the table of targets names."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins.bench.speed import SpeedPlan
from qwen3_rerank_plugins.bench.texts import RealText
from qwen3_rerank_plugins.bench.workloads import RECIPES, draw_workload


@pytest.mark.parametrize("name", RECIPES)
def test_a_full_workload_has_the_queries_and_documents_of_its_recipe(name: str, text: RealText) -> None:
    queries, documents = RECIPES[name].full
    workload = draw_workload(name, text, "full")
    assert len(workload.requests) == queries
    assert workload.documents == queries * documents
    assert len({request.query for request in workload.requests}) == queries
    everything = [document for request in workload.requests for document in request.documents]
    assert len(set(everything)) == len(everything), "identical documents would be computed once, and flatter us"


def test_a_short_workload_is_no_larger_than_a_full_one(text: RealText) -> None:
    for name in RECIPES:
        assert draw_workload(name, text, "short").documents <= RECIPES[name].full[0] * RECIPES[name].full[1]


@pytest.mark.parametrize(("asked", "small", "passages"), [(1, 1, 1), (5, 5, 5), (None, 36, 3)])
def test_rounds_are_those_that_were_asked_for_and_more_only_where_nobody_asked(
    asked: int | None, small: int, passages: int
) -> None:
    plan = SpeedPlan(["small", "passages"], [], "short", asked, 0, [], "")
    assert (plan.rounds_of("small"), plan.rounds_of("passages")) == (small, passages)
