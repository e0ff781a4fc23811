"""All errors that this package raises on purpose, in one tree.

    RerankError
    ├── SettingsError (ValueError)            an option is unknown, malformed, or impossible on this machine
    │   └── UnknownArgumentError (TypeError)  a call names an unknown argument
    ├── RequestError (ValueError)             the request cannot be ranked
    │   ├── InputTypeError (TypeError)        a query, document or instruction is not text
    │   ├── NoRoomError                       query and instruction leave no tokens for any document
    │   └── LongDocumentError                 a document is too long, and must not be cut
    ├── CheckpointError                       the model cannot be used
    │   ├── CheckpointNotFoundError           it is not where the settings say
    │   ├── UnsupportedCheckpointError        it is not a Qwen3-Reranker, or Qwen3-Embedding for the first stage
    │   └── IncompleteCheckpointError         weights are missing, left over, or of the wrong shape
    ├── ScoringError                          the model ran and gave no usable scores
    │   ├── NonFiniteScoreError               NaN or infinity came out
    │   ├── DeviceMemoryError (MemoryError)   a single document does not fit in the device's memory
    │   ├── PassError                         another failure of a batch
    │   └── RemoteError                       a rerank server gave no usable answer
    │       ├── RemoteUnreachableError (ConnectionError)   no answer, or not in time
    │       ├── RemoteRefusedError            a status other than 200
    │       ├── RemoteAnswerError             something other than one score per document
    │       └── RemoteTemplateError           scores that show a missing, doubled or damaged template
    ├── RerankTimeoutError (TimeoutError)     the time of a call was up before its answer was there
    ├── OverloadedError                       too much work is waiting already
    ├── BatchError                            a batch job has not answered every row; run it again to continue
    ├── ClosedError                           the reranker was closed, or the interpreter is exiting
    ├── ThreadStartError (RuntimeError)       the system allows no further thread
    └── MissingExtraError (ImportError)       an optional dependency is not installed

Every message says what happened, with numbers, and what to do next.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from qwen3_rerank_plugins._printable import printable

_E = TypeVar("_E", bound=BaseException)


class RerankError(Exception):
    """Root of the tree. Catch it to catch every error that this package raises on purpose.

    A message is one line: line breaks, for example from messages of other libraries, become spaces. Other control
    characters, for example from names of files and servers, are escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(" ".join(part.strip() for part in message.splitlines())))


class SettingsError(RerankError, ValueError):
    """An option is unknown, malformed, or cannot be used on this machine."""


class UnknownArgumentError(SettingsError, TypeError):
    """A call names a keyword argument that neither the reranker nor the first stage accepts."""


class RequestError(RerankError, ValueError):
    """The query, the documents or a per-call option cannot be ranked as given."""


class InputTypeError(RequestError, TypeError):
    """A query, document or instruction is not a `str`."""


class NoRoomError(RequestError):
    """Template, instruction and query fill `max_length`, so no document token would fit."""


class LongDocumentError(RequestError):
    """Documents are longer than `max_length` allows, and `long_documents` is "error".

    Attributes:
        documents: positions, in the caller's list, of the documents concerned.
    """

    def __init__(self, message: str, documents: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.documents = tuple(documents)


class CheckpointError(RerankError):
    """The model in the settings cannot be used."""


class CheckpointNotFoundError(CheckpointError):
    """The model is not a local folder, not in the cache, and cannot be reached on the hub."""


class UnsupportedCheckpointError(CheckpointError):
    """The files exist, but not those of a Qwen3-Reranker, or of a Qwen3-Embedding for the first stage."""


class IncompleteCheckpointError(CheckpointError):
    """Parameters are missing from the files, unexpected in them, or of the wrong shape."""


class ScoringError(RerankError):
    """The model ran and gave no usable scores."""


class NonFiniteScoreError(ScoringError):
    """The model gave scores that are NaN or infinite.

    Attributes:
        documents: positions, in the caller's list, of the documents concerned.
    """

    def __init__(self, message: str, documents: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.documents = tuple(documents)


class DeviceMemoryError(ScoringError, MemoryError):
    """The device does not have enough memory for the smallest possible batch."""


class PassError(ScoringError):
    """A batch failed for another reason. The original error is the cause."""


class RemoteError(ScoringError):
    """A rerank server gave no usable answer."""


class RemoteUnreachableError(RemoteError, ConnectionError):
    """The server gave no answer: it does not listen there, the connection broke, or the time was up.

    Attributes:
        again: whether another attempt might help. All allowed attempts have been made.
    """

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class RemoteRefusedError(RemoteError):
    """The server answered with a status other than 200.

    Attributes:
        status: of the answer.
        retry_after: seconds that the server asked to wait, or None.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class RemoteAnswerError(RemoteError):
    """The server's answer is malformed, incomplete, or not an answer to the request."""


class RemoteTemplateError(RemoteError):
    """The server's answers to known questions show a missing, doubled or damaged template."""


class RerankTimeoutError(RerankError, TimeoutError):
    """The `timeout` of a call was over before its answer was there. What had not run was dropped.

    Attributes:
        waiting_seconds: how long the call waited: for the model to load, and for its turn.
        computing_seconds: how long passes with its documents ran.
    """

    def __init__(self, message: str, *, waiting_seconds: float = 0.0, computing_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.waiting_seconds = waiting_seconds
        self.computing_seconds = computing_seconds


class OverloadedError(RerankError):
    """More work is waiting than `max_waiting_tokens` allows. Nothing of the call was queued.

    Attributes:
        retry_after: estimated seconds until there is room again.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BatchError(RerankError):
    """A batch job could not answer every row. Finished rows are kept, and the same command continues the job."""


class ClosedError(RerankError, RuntimeError):
    """The reranker was closed, the interpreter is exiting, or your own scorer was made before a fork."""


class ThreadStartError(RerankError, RuntimeError):
    """The system allows no further thread. The call left nothing behind, and the next call tries again."""


class MissingExtraError(RerankError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the missing distribution. The extra may install others as well.
        extra: the extra of qwen3-rerank-plugins that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self._missing = package, extra
        super().__init__(f"{package} is not installed. Install it with: pip install 'qwen3-rerank-plugins[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Pickle the arguments, because the message alone cannot make this error in another process."""
        return type(self), self._missing


def fresh(error: _E) -> _E:
    """Return another exception of the same type, with the same message, attributes, notes and cause, and no traceback.

    Callers that wait for the same result need one each, because raising an exception changes it.
    """
    copied = _copy(error)
    if hasattr(error, "__notes__"):
        copied.__notes__ = list(error.__notes__)
    copied.__cause__ = error.__cause__ and fresh(error.__cause__)
    copied.__suppress_context__ = error.__suppress_context__
    return copied


def _copy(error: _E) -> _E:
    """Return a shallow copy, also of an exception whose constructor does not take its `args`."""
    kind = type(error)
    try:
        copied = copy.copy(error)
        if type(copied) is kind and str(copied) == str(error):
            return copied
    except Exception:  # its constructor takes other arguments
        pass
    copied = kind.__new__(kind, *error.args)
    copied.args = error.args
    copied.__dict__.update(error.__dict__)
    return copied
