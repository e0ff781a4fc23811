"""Make the cache that the settings of an engine ask for."""

from __future__ import annotations

from pathlib import Path

from qwen3_rerank_plugins.engine.model_name import IN_MEMORY
from qwen3_rerank_plugins.engine.score_cache.file_store import FileStore
from qwen3_rerank_plugins.engine.score_cache.identity import EngineIdentity, OneEngine, Predict
from qwen3_rerank_plugins.engine.score_cache.memory_store import MemoryStore
from qwen3_rerank_plugins.engine.score_cache.score_cache import ScoreCache
from qwen3_rerank_plugins.engine.settings import EngineSettings


def open_cache(settings: EngineSettings, predict: Predict) -> ScoreCache | None:
    """Return the cache of an engine, or None if it has none. No file is opened yet.

    Args:
        settings: those of the engine.
        predict: see `EngineIdentity`.
    """
    if settings.cache is None:
        return None
    if settings.cache == IN_MEMORY:
        return ScoreCache(MemoryStore(settings.cache_bytes), OneEngine())
    store = FileStore(Path(settings.cache), settings.cache_bytes)
    unseen = f"compile={settings.compile}, device_map={settings.device_map}, code={settings.trust_remote_code}"
    return ScoreCache(store, EngineIdentity(unseen, len(settings.replicas), predict, store))
