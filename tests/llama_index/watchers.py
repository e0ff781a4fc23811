"""Handlers that record LlamaIndex's events and callbacks."""

from __future__ import annotations

import dataclasses
from typing import Any

from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span import SimpleSpan
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field


class EventWatcher(BaseEventHandler):
    """Every event of the dispatcher, in order."""

    seen: list[BaseEvent] = Field(default_factory=list)

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.seen.append(event)

    def rerank_events(self) -> list[BaseEvent]:
        return [event for event in self.seen if isinstance(event, (ReRankStartEvent, ReRankEndEvent))]


class SpanWatcher(SimpleSpanHandler):
    """Every span that ended, by its name without the random part."""

    def ended(self) -> dict[str, SimpleSpan]:
        return {span.id_.split("-")[0]: span for span in self.completed_spans + self.dropped_spans}


@dataclasses.dataclass
class Call:
    kind: str
    payload: dict[str, Any]
    event_id: str


class CallbackWatcher(BaseCallbackHandler):
    """Starts and ends of the reranking events of a callback manager, in order."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.calls: list[Call] = []

    def on_event_start(
        self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", **_: Any
    ) -> str:
        if event_type == CBEventType.RERANKING:
            self.calls.append(Call("start", payload or {}, event_id))
        return event_id

    def on_event_end(
        self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", **_: Any
    ) -> None:
        if event_type == CBEventType.RERANKING:
            self.calls.append(Call("end", payload or {}, event_id))

    def start_trace(self, trace_id: str | None = None) -> None:
        pass

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        pass
