"""Start `qwen3-rerank serve` with the demo checkpoint, and ask it with public clients in an environment of their own.

    make clients-check        # makes the environment and runs the following
    python tools/clients_check.py --python .venv-clients/bin/python

Exits with 1 if a client fails, or gets other scores or vectors than the engine gives.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.embedding.embedder import LocalEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, make_request
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from tests.embedding_checkpoints import make_embedding_checkpoint
from tests.serve.test_server import Process

PROGRAM = Path(__file__).parent / "clients" / "ask_all.py"
KEY = "sk-clients-check"
QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity pulls bodies together.", "The capital of China is Beijing.", "The capital of Japan is Tokyo."]


def main() -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(description="Ask the server with public clients.")
    parser.add_argument("--python", required=True, help="interpreter of the environment that has the clients")
    python = parser.parse_args().python
    with tempfile.TemporaryDirectory() as temporary:
        model = make_embedding_checkpoint(Path(temporary) / "embedding")
        process = Process("--model", "demo", "--embedding-model", str(model), QWEN3_RERANK_API_KEY=KEY)
        try:
            process.wait_until_ready()
            results = ask(python, {"url": process.url, "key": KEY, **expected(model)})
        finally:
            process.stop()
    for result in results:
        print(
            f"{'FAIL' if result['fault'] else 'ok'}  {result['client']}: {result['call']}  {result['fault']}".rstrip()
        )
    if not results or any(result["fault"] for result in results):
        raise SystemExit(1)


def expected(model: Path) -> dict[str, object]:
    """Return the question, and what the engine itself answers."""
    with Qwen3Reranker("demo", device="cpu") as reranker:
        scores = reranker.score([(QUERY, document) for document in DOCUMENTS])
    embedder = LocalEmbedder(EmbeddingSettings(model=str(model), device="cpu"))
    vectors = embedder.embed(make_request(DOCUMENTS, EmbeddingOptions()))
    embedder.close()
    return {
        "query": QUERY,
        "documents": DOCUMENTS,
        "scores": scores,
        "embedding_model": model.name,
        "vectors": [number for vector in vectors for number in vector],
    }


def ask(python: str, question: dict[str, object]) -> list[dict[str, str]]:
    """Return what each client found."""
    done = subprocess.run(
        [python, str(PROGRAM)], input=json.dumps(question), stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"client"')]


if __name__ == "__main__":
    main()
