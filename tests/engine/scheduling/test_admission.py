"""Too much waiting work is refused at once, with the time after which there is room, and only what is too much."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins.engine.call import Call, MaxWaitingTokens, Meter
from qwen3_rerank_plugins.engine.scheduling.admission import admit, waiting_tokens
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.queued_request import QueuedRequest
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.scheduling.throughput import Throughput
from qwen3_rerank_plugins.errors import OverloadedError
from tests.engine.scheduling.test_replicas import Pair
from tests.engine.scheduling.test_scheduler import LIMIT, Device, request


def queued(*tails: int) -> QueuedRequest:
    """A request with a prefix of three tokens."""
    return QueuedRequest(request(1, *tails), lambda scores, _: scores)


def ask(
    limit: MaxWaitingTokens,
    own: QueuedRequest | None,
    *queue: QueuedRequest,
    rate: float | None = 100.0,
    share: int | None = 500,
) -> Call:
    call = Call(max_waiting_tokens=limit)
    admit(call, own, queue, rate, share)
    return call


def test_a_call_larger_than_the_limit_is_let_in_while_nothing_waits() -> None:
    assert ask(100, queued(90, 90, 90)).admitted


def test_a_call_is_refused_once_as_much_waits_as_the_limit_allows() -> None:
    assert ask(100, queued(5), queued(96)).admitted
    with pytest.raises(OverloadedError, match=r"103 tokens are waiting, and max_waiting_tokens=100 allows 100") as full:
        ask(100, queued(5), queued(100))
    assert full.value.retry_after == pytest.approx(0.1)
    with pytest.raises(OverloadedError) as full:
        ask(100, queued(5), queued(300), queued(194))
    assert full.value.retry_after == pytest.approx(4.0), "the tokens over the limit, at 100 a second"


def test_auto_is_half_a_minute_of_work_as_measured_and_no_limit_before_that() -> None:
    assert ask("auto", queued(5), *[queued(400)] * 100, rate=None)
    assert ask("auto", queued(5), queued(400), queued(500), rate=31.0)
    with pytest.raises(OverloadedError, match="max_waiting_tokens='auto' allows 900"):
        ask("auto", queued(5), queued(400), queued(496), rate=30.0)


def test_without_a_limit_nothing_is_refused() -> None:
    ask(None, queued(5), *[queued(400)] * 1000)


def test_a_small_call_counts_only_the_small_ones_before_it() -> None:
    large = queued(*[90] * 100)
    assert ask(100, queued(5), large, queued(50)).admitted
    with pytest.raises(OverloadedError):
        ask(100, queued(*[90] * 100), large)
    with pytest.raises(OverloadedError):
        ask(100, queued(5), large, queued(98))
    with pytest.raises(OverloadedError, match="9,003 tokens are waiting"):
        ask(100, queued(5), large, share=None)


def test_before_it_is_tokenized_a_call_is_refused_only_if_a_small_one_would_be() -> None:
    assert not ask(100, None, queued(*[90] * 100)).admitted
    with pytest.raises(OverloadedError):
        ask(100, None, queued(100))


def test_tokens_that_a_batch_has_taken_and_those_of_canceled_requests_do_not_wait() -> None:
    one, other = queued(90, 80, 70), queued(50)
    assert waiting_tokens([one, other]) == 3 + 240 + 3 + 50
    taken = one.remaining.take(150)
    assert waiting_tokens([one, other]) == 3 + 150 + 53
    one.remaining.put_back(taken)
    assert waiting_tokens([one, other]) == 243 + 53
    other.future.cancel()
    assert waiting_tokens([one, other]) == 243


def test_the_speed_is_that_of_the_latest_passes() -> None:
    throughput = Throughput()
    assert throughput.tokens_per_second is None
    throughput.count_pass(100, 10.0)  # it compiles
    assert throughput.tokens_per_second == 10.0
    for _ in range(100):
        throughput.count_pass(100, 1.0)
    assert throughput.tokens_per_second == pytest.approx(100.0, rel=0.01)
    assert (throughput.passes, throughput.tokens) == (101, 10_100)


def test_a_call_that_was_let_in_is_not_refused_for_its_own_requests() -> None:
    device = Device()
    worker = Scheduler(lambda: LoadedEngine(device, device.budget))
    device.open.clear()
    futures = [worker.submit(request(1, 5), lambda scores, _: scores)]
    assert device.entered.acquire(timeout=LIMIT)
    call = Call(max_waiting_tokens=50)
    futures += [worker.submit(request(2, 90), lambda scores, _: scores, meter=Meter(call)) for _ in range(5)]
    with pytest.raises(OverloadedError):
        worker.submit(request(3, 5), lambda scores, _: scores, meter=Meter(Call(max_waiting_tokens=50)))
    with pytest.raises(OverloadedError):
        worker.refuse_overload(Call(max_waiting_tokens=50))
    device.open.set()
    assert all(future.result(LIMIT) for future in futures)
    assert worker.submit(request(3, 5), lambda scores, _: scores, meter=Meter(Call(max_waiting_tokens=50))).result(
        LIMIT
    )


def test_replicas_refuse_a_call_only_if_all_are_full_and_none_counts_as_failed() -> None:
    pair = Pair().warm()
    for device in pair.devices:
        device.open.clear()
    running = [pair.submit(request(number, 500)) for number in (1, 2)]
    for device in pair.devices:
        assert device.entered.acquire(timeout=LIMIT)
    pair.replicas.refuse_overload(Call(max_waiting_tokens=50))
    waiting = [pair.submit(request(number, 400)) for number in (3, 4)]
    with pytest.raises(OverloadedError):
        pair.replicas.refuse_overload(Call(max_waiting_tokens=50))
    refused = pair.replicas.submit(request(5, 5), lambda scores, _: scores, meter=Meter(Call(max_waiting_tokens=50)))
    with pytest.raises(OverloadedError):
        refused.result(LIMIT)
    assert [replica.cooldown_until < pair.now for replica in pair.replicas._replicas] == [True, True]
    for device in pair.devices:
        device.open.set()
    assert all(future.result(LIMIT) for future in running + waiting)
