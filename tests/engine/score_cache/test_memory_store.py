"""The store in memory: it keeps what was put, up to its size, and forgets what was not used for longest."""

from __future__ import annotations

import gc
import threading
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.score_cache.memory_store import ENTRY_BYTES, MemoryStore
from qwen3_rerank_plugins.engine.score_cache.store import CachedScore
from tests.engine.score_cache.keys import key, score, scores


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 9), max_size=6)), max_size=30), st.integers(1, 8))
def test_it_answers_as_a_dictionary_that_forgets_what_was_not_used_for_longest(
    operations: list[tuple[bool, list[int]]], most: int
) -> None:
    store = MemoryStore(most * ENTRY_BYTES)
    order: list[int] = []  # the reference: the last one was used last
    for putting, numbers in operations:
        distinct = list(dict.fromkeys(numbers))
        if putting:
            store.put(scores(*numbers))
            order = ([one for one in order if one not in distinct] + distinct)[-most:]
        else:
            found = [one for one in distinct if one in order]
            assert store.get([key(one) for one in numbers]) == scores(*found)
            order = [one for one in order if one not in found] + found


def test_the_first_score_of_a_key_stays() -> None:
    store = MemoryStore(10 * ENTRY_BYTES)
    store.put({key(1): score(1)})
    store.put({key(1): score(2)})
    assert store.get([key(1)]) == {key(1): score(1)}


def test_a_closed_store_finds_and_keeps_nothing() -> None:
    store = MemoryStore(10 * ENTRY_BYTES)
    store.put(scores(1))
    store.close()
    store.put(scores(2))
    assert store.get([key(1), key(2)]) == {}


def test_a_score_takes_no_more_memory_than_is_reckoned() -> None:
    count = 20_000
    store = MemoryStore(count * ENTRY_BYTES)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(2 * count):
            store.put({key(number): CachedScore(float(number), False)})
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store.get([key(number) for number in range(2 * count)])) == count
    assert count * ENTRY_BYTES / 3 < taken <= count * ENTRY_BYTES


def test_threads_put_and_get_at_once() -> None:
    store = MemoryStore(50 * ENTRY_BYTES)
    wrong: list[object] = []

    def work(start: int) -> None:
        for number in range(start, start + 300):
            store.put(scores(number % 100))
            found = store.get([key(one) for one in range(100)])
            wrong.extend(pair for pair in found.items() if pair not in EXPECTED.items())

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(store.get([key(one) for one in range(100)])) == 50


EXPECTED = scores(*range(100))
