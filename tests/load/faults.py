"""The faults: how often they occur, what they do to a batch, and which error a caller must get."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

from llama_index.core.schema import TextNode

from qwen3_rerank_plugins.errors import InputTypeError, NoRoomError, RequestError, RerankError, SettingsError
from tests.load.entry_points import Clients
from tests.load.questions import MANNERS

BAD_INPUT = "bad input"
CANCELLED = "cancelled"
BROKEN = "pass that raises"
NAN = "NaN scores"
NO_MEMORY_CUT = "out of memory, pass cut"
NO_MEMORY_LONE = "out of memory, one document"
CLOSED = "closed meanwhile"


class InjectedError(Exception):
    """An error from outside the package, such as a broken kernel raises."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rates:
    """How often faults occur. All zero is a run without faults.

    Attributes:
        bad_input: share of calls with bad input.
        cancelled: share of calls that are canceled.
        broken: share of batches that raise.
        nan: share of batches with NaN scores.
        no_memory: share of batches that run out of memory.
        close_every: mean seconds between closing the engines; 0 is never. An engine that ran out of memory has a
            smaller token budget for a while, so closing keeps a soak varied.
    """

    bad_input: float = 0.0
    cancelled: float = 0.0
    broken: float = 0.0
    nan: float = 0.0
    no_memory: float = 0.0
    close_every: float = 0.0

    def times(self, factor: float) -> Rates:
        """Return rates multiplied by a factor."""
        if factor <= 0:
            return Rates()
        shares = {field.name: getattr(self, field.name) * factor for field in dataclasses.fields(self)}
        return Rates(**{**shares, "close_every": self.close_every / factor})


SOAK_RATES = Rates(bad_input=0.03, cancelled=0.04, broken=0.004, nan=0.006, no_memory=0.02, close_every=20.0)


@dataclasses.dataclass(frozen=True, slots=True)
class BatchFault:
    """The fault of one batch.

    Attributes:
        error: error that the forward pass raises.
        memory: largest number of tokens that fits; None is no limit.
        nan_rows: number of NaN scores.
    """

    error: Exception | None = None
    memory: int | None = None
    nan_rows: int = 0


def draw_batch_fault(dice: random.Random, rates: Rates) -> BatchFault:
    """Draw the fault of a batch, mostly none."""
    if dice.random() < rates.broken:
        return BatchFault(error=InjectedError("the kernel fell over"))
    if dice.random() < rates.no_memory:
        return BatchFault(memory=dice.choice((500, 800, 1400)))
    if dice.random() < rates.nan:
        return BatchFault(nan_rows=dice.randint(1, 3))
    return BatchFault()


@dataclasses.dataclass(frozen=True, slots=True)
class BadInput:
    """A call that must raise exactly the class `error`."""

    name: str
    ask: Callable[[Clients], Any]
    error: type[RerankError]


def _asking(query: Any, documents: Any, **options: Any) -> Callable[[Clients], Any]:
    return lambda clients: clients.rerankers[MANNERS[0]].rank(query, documents, **options)


def _scoring(*pairs: Any) -> Callable[[Clients], Any]:
    return lambda clients: clients.rerankers[MANNERS[0]].score(pairs)


def _compressing(query: Any, documents: Any) -> Callable[[Clients], Any]:
    return lambda clients: clients._compressors[MANNERS[0]].compress_documents(documents, query)


def _postprocessing(query: Any, nodes: Any) -> Callable[[Clients], Any]:
    return lambda clients: clients._postprocessors[MANNERS[0]].postprocess_nodes(nodes, query_str=query)


BAD_INPUTS = (
    BadInput("no query", _asking(None, ["text"]), InputTypeError),
    BadInput("bytes for a query", _asking(b"question", ["text"]), InputTypeError),
    BadInput("bytes for a document", _asking("question", ["text", b"bytes"]), InputTypeError),
    BadInput("a number for a document", _asking("question", [3]), InputTypeError),
    BadInput("one string for a list", _asking("question", "text"), RequestError),
    BadInput("a query that fills max_length", _asking("word " * 9_000, ["text"]), NoRoomError),
    BadInput("a negative top_n", _asking("question", ["text"], top_n=-1), SettingsError),
    BadInput("a min_score above 1", _asking("question", ["text"], min_score=2), SettingsError),
    BadInput("an instruction that is a list", _asking("question", ["text"], instruction=["find"]), InputTypeError),
    BadInput("a pair of three", _scoring(("a", "b"), ("a", "b", "c")), InputTypeError),
    BadInput("a good pair before one that fills max_length", _scoring(("a", "b"), ("w " * 9_000, "b")), NoRoomError),
    BadInput("texts for LangChain documents", _compressing("question", ["text"]), InputTypeError),
    BadInput("one text for LangChain documents", _compressing("question", "text"), InputTypeError),
    BadInput("a bare node", _postprocessing("question", [TextNode(text="text")]), InputTypeError),
    BadInput("no query for nodes", _postprocessing(None, []), RequestError),
)
