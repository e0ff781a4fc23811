"""A bag-of-words embedding for LlamaIndex."""

from __future__ import annotations

from llama_index.core.base.embeddings.base import BaseEmbedding

from tests.bag_of_words import bag_of_words


class BagOfWords(BaseEmbedding):
    def _get_text_embedding(self, text: str) -> list[float]:
        return bag_of_words(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return bag_of_words(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return bag_of_words(query)
