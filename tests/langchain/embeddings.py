"""A real, if simple, embedding: words hashed into a vector, so that texts that share words lie close together."""

from __future__ import annotations

import math
import re
import zlib

from langchain_core.embeddings import Embeddings

DIMENSION = 256


class HashingEmbeddings(Embeddings):
    """Bag of words; deterministic, needs no model."""

    def embed_query(self, text: str) -> list[float]:
        vector = [0.0] * DIMENSION
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(word.encode()) % DIMENSION] += 1.0
        length = math.sqrt(sum(x * x for x in vector)) or 1.0
        return [x / length for x in vector]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]
