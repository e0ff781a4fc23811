"""Every error this package raises on purpose, in one tree.

    RerankError
    ├── SettingsError (ValueError)            an option is unknown, malformed, or impossible on this machine
    │   └── UnknownArgumentError (TypeError)  a call names an argument that nobody takes
    ├── RequestError (ValueError)             what was asked cannot be ranked
    │   ├── InputTypeError (TypeError)        a query, document or instruction is not text
    │   ├── NoRoomError                       query and instruction leave no room for any document
    │   └── LongDocumentError                 a document does not fit, and was not to be cut
    ├── CheckpointError                       the model cannot be used
    │   ├── CheckpointNotFoundError           it is not where the settings say
    │   ├── UnsupportedCheckpointError        it is not a Qwen3-Reranker, or no Qwen3-Embedding for the first stage
    │   └── IncompleteCheckpointError         weights are missing, left over, or of the wrong shape
    ├── ScoringError                          the model ran and gave no usable answer
    │   ├── NonFiniteScoreError               NaN or infinity came out
    │   ├── DeviceMemoryError (MemoryError)   one document alone does not fit in the device's memory
    │   ├── PassError                         anything else that broke inside a forward pass
    │   └── RemoteError                       somebody else's server gave no usable answer
    │       ├── RemoteUnreachableError (ConnectionError)   none at all, or not in time
    │       ├── RemoteRefusedError            a status that is not 200
    │       ├── RemoteAnswerError             something else than one score for each document
    │       └── RemoteTemplateError           scores that show a template missing, doubled or damaged
    ├── BatchError                            a batch job has not answered every row; run it again to go on
    ├── ClosedError                           the reranker was closed, or the interpreter is exiting
    ├── ThreadStartError (RuntimeError)       the system allows no further thread
    └── MissingExtraError (ImportError)       an optional dependency is not installed

Every message says what happened, with the numbers, and what to do next.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from qwen3_rerank_plugins._printable import printable

_E = TypeVar("_E", bound=BaseException)


class RerankError(Exception):
    """Root of the tree: catch it to catch everything this package raises on purpose.

    A message is one line: line breaks, which other libraries put into theirs, become spaces. Other control characters,
    which names of files and servers may hold, are escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(" ".join(part.strip() for part in message.splitlines())))


class SettingsError(RerankError, ValueError):
    """An option is unknown, malformed, or cannot be honoured on this machine."""


class UnknownArgumentError(SettingsError, TypeError):
    """A call names a keyword argument that neither the reranker nor the first stage takes."""


class RequestError(RerankError, ValueError):
    """The query, the documents or a per-call option cannot be ranked as given."""


class InputTypeError(RequestError, TypeError):
    """A query, document or instruction is something other than `str`."""


class NoRoomError(RequestError):
    """Template, instruction and query already fill `max_length`: no document token would fit."""


class LongDocumentError(RequestError):
    """Documents are longer than `max_length` allows, and `long_documents` is "error".

    Attributes:
        documents: positions, in the caller's list, of the documents concerned.
    """

    def __init__(self, message: str, documents: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.documents = tuple(documents)


class CheckpointError(RerankError):
    """The model named in the settings cannot be used."""


class CheckpointNotFoundError(CheckpointError):
    """The model is neither a local folder, nor in the cache, nor reachable on the hub."""


class UnsupportedCheckpointError(CheckpointError):
    """The files are there, but they are not those of a Qwen3-Reranker, or of a Qwen3-Embedding for the first stage."""


class IncompleteCheckpointError(CheckpointError):
    """Parameters are missing from the files, left over in them, or of the wrong shape."""


class ScoringError(RerankError):
    """The model ran and gave no usable answer."""


class NonFiniteScoreError(ScoringError):
    """NaN or infinity came out of the model.

    Attributes:
        documents: positions, in the caller's list, of the documents concerned.
    """

    def __init__(self, message: str, documents: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.documents = tuple(documents)


class DeviceMemoryError(ScoringError, MemoryError):
    """The device has not enough memory even for the smallest possible pass."""


class PassError(ScoringError):
    """A forward pass failed for a reason of its own; the original error is the cause."""


class RemoteError(ScoringError):
    """Somebody else's server gave no usable answer."""


class RemoteUnreachableError(RemoteError, ConnectionError):
    """The server gave no answer: nobody listens there, the connection broke, or the time was up.

    Attributes:
        again: whether another attempt might help; all that were allowed have been made.
    """

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class RemoteRefusedError(RemoteError):
    """The server answered with a status other than 200.

    Attributes:
        status: that status.
        retry_after: seconds that the server asked to wait; None if it did not.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class RemoteAnswerError(RemoteError):
    """The server's answer is malformed, partial, or about something else."""


class RemoteTemplateError(RemoteError):
    """The server's answers to known questions show that the template is missing, doubled or damaged."""


class BatchError(RerankError):
    """A batch job could not give every row its one answer. What it finished stays; the same command goes on."""


class ClosedError(RerankError, RuntimeError):
    """The reranker was closed, the interpreter is exiting, or a scorer of your own was made before a fork."""


class ThreadStartError(RerankError, RuntimeError):
    """The system allows no further thread. Nothing is left of the call, and the next one tries again."""


class MissingExtraError(RerankError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the one distribution that is missing; the extra may bring others as well.
        extra: the extra of qwen3-rerank-plugins that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self._missing = package, extra
        super().__init__(f"{package} is not installed. Install it with: pip install 'qwen3-rerank-plugins[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Errors travel between processes, and this one's message is not what it is made of."""
        return type(self), self._missing


def fresh(error: _E) -> _E:
    """Another exception of the same type, with the same message, attributes, notes and cause, and no traceback.

    Several callers who wait for the same thing get one each: whoever raises an exception writes to it.
    """
    copied = _copy(error)
    if hasattr(error, "__notes__"):
        copied.__notes__ = list(error.__notes__)
    copied.__cause__ = error.__cause__ and fresh(error.__cause__)
    copied.__suppress_context__ = error.__suppress_context__
    return copied


def _copy(error: _E) -> _E:
    """A shallow copy, also of an exception that is not made of its `args`."""
    kind = type(error)
    try:
        copied = copy.copy(error)
        if type(copied) is kind and str(copied) == str(error):
            return copied
    except Exception:  # its constructor wants something else
        pass
    copied = kind.__new__(kind, *error.args)
    copied.args = error.args
    copied.__dict__.update(error.__dict__)
    return copied
