"""The first stage behind `/v1/embeddings`: a Qwen3-Embedding model beside the reranker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from qwen3_rerank_plugins._registry import share
from qwen3_rerank_plugins.embedding.checkpoint import find_embedding_checkpoint
from qwen3_rerank_plugins.embedding.embedder import LocalEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, make_request, query_prompt
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import well_formed
from qwen3_rerank_plugins.serve.settings import served_name


def embedding_settings(model: str, engine: EngineSettings) -> EmbeddingSettings:
    """Return the settings of an embedding model beside a reranker: on its device, and from the same cache."""
    return EmbeddingSettings(
        model=model,
        device=engine.devices[0] if engine.devices else engine.device,
        threads=engine.threads,
        cache_dir=engine.cache_dir,
        local_files_only=engine.local_files_only,
        token=engine.token,
    )


class EmbeddingService:
    """Computes vectors for requests.

    Args:
        settings: of the model.

    Attributes:
        name: of the model in answers.
    """

    def __init__(self, settings: EmbeddingSettings) -> None:
        self.name = served_name(settings.model)
        self._settings = settings

    def warmup(self) -> None:
        """Load the model and run it once."""
        share(self._settings, LocalEmbedder).embed(make_request(["warm up"], EmbeddingOptions()))
        _ = self._tokenizer

    async def embed(
        self, texts: Sequence[str], *, is_query: bool, instruction: str | None, dimensions: int | None
    ) -> tuple[list[list[float]], int]:
        """Return one unit vector per text, and how many tokens the texts have with their prompts and end tokens.

        Raises:
            RerankError: as `LocalEmbedder.embed`.
        """
        prompt = query_prompt(instruction) if is_query else ""
        request = make_request(list(texts), EmbeddingOptions(truncate_dim=dimensions), prompt)
        vectors = await share(self._settings, LocalEmbedder).aembed(request)
        tokens = await asyncio.to_thread(self._count, [prompt + text for text in texts])
        return vectors, tokens

    def _count(self, texts: Sequence[str]) -> int:
        return sum(len(found.ids) for found in self._tokenizer.encode_batch_fast(list(map(well_formed, texts))))

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(find_embedding_checkpoint(self._settings).tokenizer_file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
