"""Retrieve, rerank, answer: a complete LlamaIndex program that needs no network and no key.

    pip install 'qwen3-rerank-plugins[llama-index]'
    python examples/llama_index_rag.py --model Qwen/Qwen3-Reranker-0.6B --question "Why does bread rise?"

Without options it runs the bundled demo checkpoint.
"""

from __future__ import annotations

import argparse
import math
import re
import zlib

from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_rerank_plugins.llama_index import Qwen3Rerank

QUESTION = "How do bees tell each other in which direction to fly?"
RETRIEVED = 8
KEPT = 3

PASSAGES = {
    "Waggle dance": "Bees that return from a rich meadow waggle across the comb. Their angle against the vertical is "
    "the direction to fly, measured from the sun, and the length of the run is the distance.",
    "Beeswax": "Young bees sweat wax from glands under their bellies and chew it until it is soft enough to build "
    "six-sided cells, each of which is shared by the walls of its neighbours.",
    "Sourdough": "A sourdough starter is flour and water in which wild yeast and bacteria live together. The yeast "
    "makes the gas that lifts the bread, and the bacteria make the acid that gives the bread its taste.",
    "Salting": "Before there was ice in the house, the food for the winter was salted: salt draws the water out of "
    "fish and meat, and where there is no water the microbes that spoil food do not grow.",
    "Food webs": "Who eats whom is seldom a straight chain. Each animal takes part in many chains, and where one food "
    "runs short it turns to the other, which is what holds the whole web together.",
    "Tides": "The moon lifts the sea on the side that faces it and also on the far side. As the earth turns below the "
    "two bulges, most harbours see high water twice a day.",
    "Ravens": "Ravens hide what they cannot eat at once. If another raven is watching, they come back later and move "
    "the hoard, as if they knew that the other one now knows.",
    "Lighthouses": "Every lighthouse blinks in a rhythm of its own. A sailor who counts the seconds between flashes "
    "can tell from a list which one it is, and so where the ship is.",
    "Postcodes": "A postcode lets a machine tell where a letter is bound without understanding the rest of the "
    "address. The first digits name a region, the last ones a street or even a single house.",
    "Echoes": "A bat shouts far above what we can hear and listens. The delay of the echo is the distance, and the "
    "difference between its two ears is the direction of the moth.",
    "Longitude": "A ship that carries a clock with the time of its home port can compare it with the local noon. Each "
    "hour of difference is fifteen degrees of longitude.",
    "Concrete": "Concrete does not dry, it cures: cement and water grow crystals that lock sand and gravel together, "
    "and they go on growing for years.",
    "Paper": "Paper was made from rags for centuries. Only when rags became scarce did the mills learn to boil wood "
    "until nothing but its fibres was left.",
    "Zero": "Writing nothing as a sign of its own made written arithmetic possible: with a mark for the empty place, "
    "ten digits are enough for every number.",
    "Snow": "Fresh snow is mostly air. Sound is lost between the flakes, and so a street is quiet after a night of "
    "snowfall even before the traffic stops.",
}


class HashedWords(BaseEmbedding):
    """A substitute for an embedding model that needs no download: counts words in hashed buckets."""

    def _get_text_embedding(self, text: str) -> list[float]:
        counts = [0.0] * 512
        for word in re.findall(r"\w+", text.lower()):
            counts[zlib.crc32(word.encode()) % len(counts)] += 1.0
        length = math.hypot(*counts) or 1.0
        return [count / length for count in counts]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def main() -> None:
    """Show a question before and after reranking, and answer it."""
    parser = argparse.ArgumentParser(description="Retrieve, rerank and answer with LlamaIndex.")
    parser.add_argument("--model", default="demo", help='hub ID, local folder, or "demo"')
    parser.add_argument("--question", default=QUESTION)
    options = parser.parse_args()

    nodes = [TextNode(text=text, metadata={"title": title}) for title, text in PASSAGES.items()]
    index = VectorStoreIndex(nodes, embed_model=HashedWords())
    rerank = Qwen3Rerank(model=options.model, top_n=KEPT, keep_retrieval_score=True)
    engine = index.as_query_engine(
        llm=MockLLM(),  # repeats its prompt; put your language model here
        similarity_top_k=RETRIEVED,
        node_postprocessors=[rerank],
    )

    remark = " (bundled, for wiring only: its order says nothing about quality)" if options.model == "demo" else ""
    print(f"Reranked by {options.model}{remark}\n\nQuestion: {options.question}")
    retrieved = index.as_retriever(similarity_top_k=RETRIEVED).retrieve(options.question)
    show(f"Before: the {RETRIEVED} passages that share most words with the question", retrieved)
    response = engine.query(options.question)
    show(f"After: the {KEPT} passages that the language model is given", response.source_nodes)


def show(heading: str, nodes: list[NodeWithScore]) -> None:
    """Print rank, score, title and first words of each node; after reranking also its retrieval score."""
    print(f"\n{heading}")
    for rank, node in enumerate(nodes, start=1):
        retrieval = node.metadata.get("retrieval_score")
        before = "" if retrieval is None else f"  (retrieval said {retrieval:.3f})"
        print(f"  {rank}. {node.get_score():.3f}  {node.metadata['title']:<14}{node.text[:48]}...{before}")


if __name__ == "__main__":
    main()
