"""One question, a document that answers it, and one that has nothing to do with it: any reranker tells them apart.

Comes in: nothing. Goes out: three texts.
Must not know: models.
"""

from __future__ import annotations

QUESTION = "How do bees make honey?"
RELEVANT = "Bees make honey from nectar: they add enzymes and fan their wings until most of the water is gone."
IRRELEVANT = "The night train to the coast was cancelled because of repairs on a bridge."
