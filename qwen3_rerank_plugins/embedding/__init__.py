"""The first stage: unit vectors from the Qwen3-Embedding models, run by sentence-transformers.

It needs the extra `embeddings`. Importing this package only checks that the extra is installed; sentence-transformers
is imported when the weights are loaded.
"""

from __future__ import annotations

import importlib.util

from qwen3_rerank_plugins.errors import MissingExtraError

if importlib.util.find_spec("sentence_transformers") is None:
    raise MissingExtraError("sentence-transformers", "embeddings")
