"""Ask a server with each public client, unmodified. This runs where the clients are installed, and this package is not.

Reads the question and the expected scores as JSON from stdin, and prints one line of JSON for each client.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

Question = dict[str, Any]
Scores = dict[int, float]
TOLERANCE = 1e-4
"""In probability, or in one number of a vector: clients hold vectors in 32 bits, and batches round differently."""


def ask_cohere(question: Question, name: str) -> Scores:
    """The SDK of Cohere, with the API of version 1 (`Client`) or 2 (`ClientV2`)."""
    client = getattr(importlib.import_module("cohere"), name)(question["key"], base_url=question["url"])
    answer = client.rerank(model="rerank-v3.5", query=question["query"], documents=question["documents"], top_n=99)
    return {one.index: one.relevance_score for one in answer.results}


def ask_langchain_cohere(question: Question) -> Scores:
    """LangChain's `CohereRerank`."""
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    compressor = CohereRerank(
        model="rerank-v3.5", cohere_api_key=question["key"], base_url=question["url"], top_n=len(question["documents"])
    )
    documents = [Document(text, metadata={"index": index}) for index, text in enumerate(question["documents"])]
    found = compressor.compress_documents(documents, question["query"])
    return {one.metadata["index"]: one.metadata["relevance_score"] for one in found}


def ask_llama_index(question: Question, module: str, name: str, **options: Any) -> Scores:
    """A postprocessor of LlamaIndex."""
    from llama_index.core.schema import NodeWithScore, TextNode

    package = importlib.import_module(f"llama_index.postprocessor.{module}")
    reranker = getattr(package, name)(top_n=len(question["documents"]), **options)
    nodes = [
        NodeWithScore(node=TextNode(id_=str(index), text=text)) for index, text in enumerate(question["documents"])
    ]
    found = reranker.postprocess_nodes(nodes, query_str=question["query"])
    return {int(one.node.node_id): one.score for one in found}


def ask_litellm(question: Question, provider: str, path: str) -> Scores:
    """The function `rerank` of litellm."""
    import litellm

    answer = litellm.rerank(
        model=f"{provider}/rerank-v3.5",
        query=question["query"],
        documents=question["documents"],
        top_n=len(question["documents"]),
        api_key=question["key"],
        api_base=question["url"] + path,
    )
    return {one["index"]: one["relevance_score"] for one in answer.results}


def ask_openai(question: Question) -> list[float]:
    """The SDK of OpenAI, which asks for vectors in base64."""
    from openai import OpenAI

    client = OpenAI(api_key=question["key"], base_url=f"{question['url']}/v1")
    names = [model.id for model in client.models.list()]
    assert question["embedding_model"] in names, names
    answer = client.embeddings.create(model=question["embedding_model"], input=question["documents"])
    assert answer.usage.prompt_tokens > 0
    return [number for one in answer.data for number in one.embedding]


def rerankers(question: Question) -> Sequence[tuple[str, str, Callable[[], Scores]]]:
    """Return the distribution, a name and a function for each client that ranks."""
    url, key = question["url"], question["key"]
    index = "llama-index-postprocessor-"
    return (
        ("cohere", "Client", lambda: ask_cohere(question, "Client")),
        ("cohere", "ClientV2", lambda: ask_cohere(question, "ClientV2")),
        ("langchain-cohere", "CohereRerank", lambda: ask_langchain_cohere(question)),
        (
            f"{index}cohere-rerank",
            "CohereRerank",
            lambda: ask_llama_index(question, "cohere_rerank", "CohereRerank", api_key=key, base_url=url),
        ),
        (
            f"{index}jinaai-rerank",
            "JinaRerank",
            lambda: ask_llama_index(question, "jinaai_rerank", "JinaRerank", api_key=key, base_url=f"{url}/v1"),
        ),
        (
            f"{index}tei-rerank",
            "TextEmbeddingInference",
            lambda: ask_llama_index(
                question, "tei_rerank", "TextEmbeddingInference", base_url=url, auth_token=key, model_name="any"
            ),
        ),
        ("litellm", "rerank as cohere", lambda: ask_litellm(question, "cohere", "/v2/rerank")),
        ("litellm", "rerank as jina_ai", lambda: ask_litellm(question, "jina_ai", "/v1/rerank")),
        ("litellm", "rerank as hosted_vllm", lambda: ask_litellm(question, "hosted_vllm", "/v1")),
    )


def fault_of_ranking(ask: Callable[[], Scores], expected: Sequence[float]) -> str:
    """Return what is wrong with a client's scores, or an empty string."""
    found = ask()
    if found.keys() != set(range(len(expected))):
        return f"scores for {sorted(found)} of {len(expected)} documents"
    worst = max(abs(found[index] - score) for index, score in enumerate(expected))
    return "" if worst <= TOLERANCE else f"a score differs by {worst}"


def fault_of_refusal(question: Question) -> str:
    """Return what is wrong with the error that Cohere's SDK raises for a wrong key, or an empty string."""
    import cohere
    from cohere.errors import UnauthorizedError

    client = cohere.ClientV2("wrong", base_url=question["url"])
    try:
        client.rerank(model="any", query="q", documents=["d"])
    except UnauthorizedError as error:
        return "" if "API key" in error.body["message"] else str(error.body)
    return "no error"


def fault_of_vectors(question: Question) -> str:
    """Return what is wrong with the vectors of OpenAI's SDK, or an empty string."""
    found, expected = ask_openai(question), question["vectors"]
    if len(found) != len(expected):
        return f"{len(found)} numbers instead of {len(expected)}"
    worst = max(abs(one - other) for one, other in zip(found, expected, strict=True))
    return "" if worst <= TOLERANCE else f"a number differs by {worst}"


def main() -> None:
    """Ask with all clients; one that fails does not stop the others."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it downloads a list of prices
    question: Question = json.load(sys.stdin)
    checks: list[tuple[str, str, Callable[[], str]]] = [
        (package, name, functools.partial(fault_of_ranking, ask, question["scores"]))
        for package, name, ask in rerankers(question)
    ]
    checks.append(("cohere", "a wrong key", lambda: fault_of_refusal(question)))
    checks.append(("openai", "embeddings", lambda: fault_of_vectors(question)))
    for package, name, check in checks:
        try:
            fault = check()
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        print(json.dumps({"client": f"{package} {version(package)}", "call": name, "fault": fault}), flush=True)


if __name__ == "__main__":
    main()
