"""The first stage: texts -> unit vectors, with the Qwen3-Embedding models over sentence-transformers.

One idea a file: `settings` (what to load), `request` (what is asked), `checkpoint` (is it of the family), `model` (the
loaded one; torch below this line), `embedder` (one for everybody who asks), `fields` (the settings as fields of the
adapters). Needs the extra `embeddings`, which is looked for here and imported only where the weights are loaded.
"""

from __future__ import annotations

import importlib.util

from qwen3_rerank_plugins.errors import MissingExtraError

if importlib.util.find_spec("sentence_transformers") is None:
    raise MissingExtraError("sentence-transformers", "embeddings")
