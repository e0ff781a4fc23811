"""The engine of one reranker: found at each call, released once. Rerankers with equal settings share an engine."""

from __future__ import annotations

from typing import Any, Self

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call
from qwen3_rerank_plugins.engine.scorer import Scorer
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import ClosedError, SettingsError
from qwen3_rerank_plugins.remote.settings import RemoteSettings


class EngineUser:
    """Base of the reranker. Copies are the object itself, so that they share its engine and are closed with it.

    Args:
        settings: the model in this process.
        remote: the rerank server to use instead; None for a model in this process.
        scorer: the caller's engine, used instead of both and never closed.
    """

    def __init__(self, settings: EngineSettings, remote: RemoteSettings | None, scorer: Scorer | None) -> None:
        self.settings = settings
        self.remote = remote
        self._own_scorer = scorer
        self._closed = False
        if remote is not None:
            if scorer is not None:
                raise SettingsError("remote=... and scorer=... are two engines; pass only one.")
            import qwen3_rerank_plugins.remote.scorer  # noqa: F401  # so that a missing extra fails here, not later

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        name = type(self).__name__
        if "settings" not in vars(self):  # the constructor failed, and an error report shows the object
            return f"{name}(unmade)"
        settings = self.settings
        if self.remote is not None:
            return f"{name}({settings.model!r}, remote={self.remote.url!r})"
        where = f"devices={list(settings.devices)!r}" if settings.devices else f"device={settings.device!r}"
        return f"{name}({settings.model!r}, {where}, dtype={settings.dtype!r})"

    @property
    def loads_a_model(self) -> bool:
        """Whether a model runs in this process, because there is neither a server nor a scorer of the caller's."""
        return self.remote is None and self._own_scorer is None

    def warmup(self) -> None:
        """Load the model and run it once, so that the first request is fast."""
        scorer = self._scorer()
        with inside_a_call():
            scorer.warmup()

    def close(self) -> None:
        """Stop using the engine. Its memory is freed once no other reranker uses it. Closing twice is fine."""
        if not self._closed:
            self._release()

    def _scorer(self) -> Scorer:
        self._refuse_closed()
        if self.remote is not None:
            from qwen3_rerank_plugins.remote.scorer import RemoteScorer

            scorer: Scorer = registry.share(self.remote, RemoteScorer, self)
        else:
            scorer = self._own_scorer or registry.acquire(self.settings, self)
        try:
            self._refuse_closed()  # another thread or a signal handler may have closed it meanwhile
        except ClosedError:
            self._release()
            raise
        return scorer

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("This reranker is closed. Make a new one to go on.")

    def _release(self) -> None:
        self._closed = True
        if self._own_scorer is None:
            registry.release(self.remote or self.settings, self)
