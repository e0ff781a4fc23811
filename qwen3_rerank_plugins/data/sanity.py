"""A question, a document that answers it and an unrelated one. Every working reranker tells the two apart."""

from __future__ import annotations

QUESTION = "How do bees make honey?"
RELEVANT = "Bees make honey from nectar: they add enzymes and fan their wings until most of the water is gone."
IRRELEVANT = "The night train to the coast was cancelled because of repairs on a bridge."
