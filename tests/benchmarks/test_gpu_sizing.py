"""What fits on which card, and how long a rerank takes there: the record is what the script computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from benchmarks import gpu_sizing
from benchmarks.gpu_cards import CARDS, MEASURED_CARD
from benchmarks.gpu_sizing import (
    DTYPE,
    ECC_SHARE,
    MEMORY_SIZES,
    MODES,
    PREFIX_TOKENS,
    RECORDS,
    RESERVE,
    SUFFIX_TOKENS,
    WORKLOAD_OF_TOKENS,
    fit,
    list_seconds,
    read_rate,
    request_of,
    time_of,
)
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.text.template import build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder

LARGE = "Qwen/Qwen3-Reranker-8B"


def test_the_record_is_what_the_script_computes(tmp_path: Path) -> None:
    out = tmp_path / "gpu-sizing.json"
    gpu_sizing.main(["--out", str(out)])
    written, recorded = (json.loads(path.read_text(encoding="utf-8")) for path in (out, RECORDS / "gpu-sizing.json"))
    assert written == recorded, (
        "run `python -m benchmarks.gpu_sizing --out benchmarks/results/gpu-sizing.json` "
        "and `python tools/render_performance.py`"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("checkpoint", PUBLISHED)
def test_what_fits_stays_below_the_memory_and_a_larger_card_never_takes_less(checkpoint: str, mode: object) -> None:
    found = [fit(checkpoint, mode, gigabytes) for gigabytes in MEMORY_SIZES]  # type: ignore[arg-type]
    shape = PUBLISHED[checkpoint]
    for one in found:
        if one.tokens is not None:
            kept = one.weight_bytes - shape.output_matrix_bytes(DTYPE)
            batch = BatchMemory(shape, DTYPE, "cuda", fused=True).bytes(one.tokens)
            usable = one.gigabytes * 2**30 * (1 - ECC_SHARE) - RESERVE
            assert max(one.weight_bytes, kept + batch) <= usable
    tokens = [one.tokens or 0 for one in found]
    assert tokens == sorted(tokens)
    assert tokens[-1] > 0


def test_a_checkpoint_whose_weights_exceed_the_memory_fits_nowhere_and_has_no_time() -> None:
    assert fit(LARGE, None, CARDS[0].gigabytes).tokens is None
    assert list_seconds(LARGE, CARDS[0], read_rate()) is None


def test_the_computed_time_of_the_measured_batch_is_its_measured_time() -> None:
    results = json.loads((RECORDS / "gpu-probe-8b.json").read_text(encoding="utf-8"))["results"]
    for workload in WORKLOAD_OF_TOKENS.values():
        one = results["auto"][workload]
        seconds = one["ms"] / 1e3
        flops = one["share"] * results["gemm"] * seconds
        computed = time_of(flops, 1, PUBLISHED[LARGE], MEASURED_CARD, read_rate(), workload)
        assert computed == pytest.approx(seconds)


def test_no_batch_takes_less_time_per_layer_than_the_small_one_took() -> None:
    rate, shape = read_rate(), PUBLISHED["Qwen/Qwen3-Reranker-0.6B"]
    assert time_of(1.0, 3, shape, MEASURED_CARD, rate, "passages") == 3 * shape.layers * rate.layer_seconds


def test_half_the_data_sheet_rate_doubles_the_time_of_a_long_call() -> None:
    rate, shape = read_rate(), PUBLISHED[LARGE]
    fast, slow = (time_of(1e15, 1, shape, card, rate, "chunks") * card.tflops for card in (MEASURED_CARD, CARDS[0]))
    assert fast == pytest.approx(slow)


def test_the_tokens_of_prefix_and_suffix_are_those_of_the_published_tokenizer(qwen_tokenizer_file: Path) -> None:
    query = "how long does it take for a letter to arrive in the far south"
    assert len(Tokenizer.from_file(str(qwen_tokenizer_file)).encode(f" {query}").ids) == 14
    prompt = build_prompt(make_request(query, ["one"], None, 8192))
    tokenized = PromptEncoder(qwen_tokenizer_file).encode(prompt, 8192)
    assert len(tokenized.prefix) == PREFIX_TOKENS
    assert len(tokenized.document_ids[0]) == 1 + SUFFIX_TOKENS


def test_a_request_has_the_lengths_that_were_asked_for() -> None:
    request = request_of(100, 3)
    assert len(request.prefix) == PREFIX_TOKENS
    assert [len(ids) for ids in request.document_ids] == [100 + SUFFIX_TOKENS] * 3
