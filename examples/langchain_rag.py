"""Retrieve, rerank, answer: a complete LangChain program that needs no network and no key.

    pip install 'qwen3-rerank-plugins[langchain]'
    python examples/langchain_rag.py --model Qwen/Qwen3-Reranker-0.6B --question "Why are leaves green?"

Without options it runs the bundled demo checkpoint.
"""

from __future__ import annotations

import argparse
import math
import re
import zlib
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from qwen3_rerank_plugins.langchain import Qwen3Rerank

QUESTION = "What is the reason that ice floats on the water of a lake?"
RETRIEVED = 8
KEPT = 3

PASSAGES = {
    "Gyroscopes": "A wheel that spins fast resists being tilted. A gyroscope uses this to keep pointing one way while "
    "the ship or the aircraft around it rolls and turns.",
    "Leaves": "Leaves are green because chlorophyll takes red and blue out of the light and has little use for what "
    "lies between. In autumn the tree takes the chlorophyll back, and the yellow that was there all along appears.",
    "Ice": "Ice floats because water widens when it freezes. Were it the other way round, lakes would freeze from the "
    "bottom, and fish would not live through the winter.",
    "Silk": "A silkworm spins its cocoon from a single thread that may be a kilometre long. To unwind it in one piece, "
    "the cocoon is softened in hot water.",
    "Rust": "Iron rusts where water and air meet it together. Salt hurries the rust along, which is why cars last "
    "longer far from the sea.",
    "Lenses": "A lens bends light because light is slower in glass than in air. A thick middle draws the rays "
    "together, a thin one spreads them.",
    "Owls": "The edge of an owl's feather is combed into a fringe that breaks up the rush of air. A mouse hears "
    "nothing until the claws are there.",
    "Vinegar": "Wine left open turns into vinegar, because bacteria from the air eat the alcohol and leave acid.",
    "Domes": "A dome pushes outwards at its foot. Builders met the push with thick walls, with chains of iron around "
    "the ring, or by making the shell lighter towards the top.",
    "Salmon": "Salmon find the river in which they hatched by its smell, after years in the open ocean.",
    "Felt": "Felt is neither woven nor knitted. The scales on hairs of wool hook into each other when they are rubbed "
    "warm and wet, and do not let go again.",
    "Amber": "Amber is resin that ran down a tree millions of years ago and hardened in the ground. What was caught in "
    "it, a gnat or the seed of a flower, is still there.",
    "Maps": "No flat map shows the round earth without a lie. One keeps the angles and swells the north, another keeps "
    "the areas and bends the shapes.",
    "Pendulums": "How long a pendulum takes to swing depends on its length and hardly on how far it swings. This made "
    "it the heart of the clock for three hundred years.",
    "Soap": "Soap has two ends: one likes water, the other likes fat. Between them they lift grease from a plate and "
    "carry it off with the rinse.",
}

PROMPT = ChatPromptTemplate.from_template("Answer from these passages only.\n\n{passages}\n\nQuestion: {question}")


class HashedWords(Embeddings):
    """A substitute for an embedding model that needs no download: counts words in hashed buckets."""

    def embed_query(self, text: str) -> list[float]:
        """Return a vector of length 1."""
        counts = [0.0] * 512
        for word in re.findall(r"\w+", text.lower()):
            counts[zlib.crc32(word.encode()) % len(counts)] += 1.0
        length = math.hypot(*counts) or 1.0
        return [count / length for count in counts]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text."""
        return [self.embed_query(text) for text in texts]


class QuotingChatModel(SimpleChatModel):
    """A substitute for your language model: answers with the first passage of its prompt."""

    @property
    def _llm_type(self) -> str:
        return "quoting"

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        return str(messages[-1].content).split("\n\n")[1]


def main() -> None:
    """Show a question before and after reranking, and answer it from the remaining passages."""
    parser = argparse.ArgumentParser(description="Retrieve, rerank and answer with LangChain.")
    parser.add_argument("--model", default="demo", help='hub ID, local folder, or "demo"')
    parser.add_argument("--question", default=QUESTION)
    options = parser.parse_args()

    documents = [Document(page_content=text, metadata={"title": title}) for title, text in PASSAGES.items()]
    store = InMemoryVectorStore(HashedWords())
    store.add_documents(documents)
    retriever = store.as_retriever(search_kwargs={"k": RETRIEVED})
    compressor = Qwen3Rerank(model=options.model, top_n=KEPT)

    # the same as langchain-classic's ContextualCompressionRetriever, from langchain-core alone
    reranked = {"query": RunnablePassthrough(), "documents": retriever} | RunnableLambda(
        lambda found: compressor.compress_documents(found["documents"], found["query"])
    )
    answer = {"passages": reranked | joined, "question": RunnablePassthrough()} | PROMPT | QuotingChatModel()

    remark = " (bundled, for wiring only: its order says nothing about quality)" if options.model == "demo" else ""
    print(f"Reranked by {options.model}{remark}\n\nQuestion: {options.question}")
    before, after = retriever.invoke(options.question), reranked.invoke(options.question)
    show(f"Before: the {RETRIEVED} passages that share most words with the question", before, before)
    show(f"After: the {KEPT} passages that the language model is given", after, before)
    print(f"\nAnswer: {(answer | StrOutputParser()).invoke(options.question)}")


def joined(documents: list[Document]) -> str:
    """Return the passages for the prompt."""
    return "\n\n".join(document.page_content for document in documents)


def show(heading: str, documents: list[Document], retrieved: list[Document]) -> None:
    """Print rank, title and first words of each document; after reranking also its score and its previous rank."""
    print(f"\n{heading}")
    ranks = {document.metadata["title"]: place for place, document in enumerate(retrieved, start=1)}
    for rank, document in enumerate(documents, start=1):
        title, score = document.metadata["title"], document.metadata.get("relevance_score")
        remark = "" if score is None else f"  (score {score:.3f}, was number {ranks[title]})"
        print(f"  {rank}. {title:<12}{document.page_content[:48]}...{remark}")


if __name__ == "__main__":
    main()
