"""An embedding without a model: words hashed into a bag. Deterministic, offline, and enough to retrieve something."""

from __future__ import annotations

import math
import re
import zlib

from llama_index.core.base.embeddings.base import BaseEmbedding

BUCKETS = 256


class BagOfWords(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        counts = [0.0] * BUCKETS
        for word in re.findall(r"\w+", text.lower()):
            counts[zlib.crc32(word.encode()) % BUCKETS] += 1.0
        length = math.hypot(*counts) or 1.0
        return [count / length for count in counts]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)
