"""Bag-of-words embeddings for LangChain."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from tests.bag_of_words import bag_of_words


class HashingEmbeddings(Embeddings):
    def embed_query(self, text: str) -> list[float]:
        return bag_of_words(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [bag_of_words(text) for text in texts]
