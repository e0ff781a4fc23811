"""Mutations of a checkpoint's files, each of which must load or be refused by an error of the tree.

Run as a program it loads one mutated checkpoint after the other in a process of its own, as native code may end it:

    python -m tests.fuzzing FILE COUNT FOLDER [SEED]
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins import Qwen3Reranker, RerankError
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER

JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 10**6, 10**12, 2**63, 10**30, 1.5, -0.0, 1e400, float("nan")),
    *("", "x", "yes", "\x00", "\ud800", "a\nb", [], [1], [[]], {}, {"type": "NFC"}, {"a": {}}),
]
INDEX = "model.safetensors.index.json"
KINDS = ("config.json", "tokenizer.json", "model.safetensors", INDEX)


def mutate_json(content: Any, draw: random.Random) -> Any:
    """Replace, remove or double one value somewhere."""
    if isinstance(content, dict) and content and draw.random() < 0.9:
        key = draw.choice(list(content)[:40])
        action = draw.random()
        if action < 0.4:
            return {**content, key: draw.choice(JUNK)}
        if action < 0.5:
            return {other: value for other, value in content.items() if other != key}
        return {**content, key: mutate_json(content[key], draw)}
    if isinstance(content, list) and content and draw.random() < 0.7:
        place = draw.randrange(min(len(content), 40))
        return [*content[:place], mutate_json(content[place], draw), *content[place + 1 :]]
    return draw.choice(JUNK)


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """Cut, lengthen, or overwrite some bytes."""
    place = draw.randrange(len(content))
    noise = bytes(draw.randrange(256) for _ in range(draw.choice([1, 8, 100])))
    return draw.choice([content[:place], content + noise, content[:place] + noise + content[place + len(noise) :]])


def mutate_safetensors(content: bytes, draw: random.Random) -> bytes:
    """Change the header, the length of it, or any byte."""
    (length,) = struct.unpack("<Q", content[:8])
    action = draw.random()
    if action < 0.7:
        header = json.dumps(mutate_json(json.loads(content[8 : 8 + length]), draw)).encode()
        return struct.pack("<Q", len(header)) + header + content[8 + length :]
    if action < 0.8:
        return struct.pack("<Q", draw.choice([0, 1, length - 1, length + 1, 2**31, 2**60, 2**64 - 1])) + content[8:]
    return mutate_bytes(content, draw)


def write_mutated(folder: Path, kind: str, draw: random.Random) -> None:
    """Write the file of a checkpoint that is `DEMO_FOLDER` otherwise, mutated."""
    file = folder / kind
    if kind == INDEX:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        content: Any = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}
    elif kind == "model.safetensors":
        file.write_bytes(mutate_safetensors(file.read_bytes(), draw))
        return
    else:
        content = json.loads(file.read_text(encoding="utf-8"))
    if draw.random() < 0.15:
        file.write_bytes(mutate_bytes(json.dumps(content).encode(), draw))
        return
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        content = mutate_json(content, draw)
    file.write_text(json.dumps(content), encoding="utf-8")


def try_mutations(kind: str, count: int, folder: Path, seed: int) -> dict[str, int]:
    """How often what became of a mutation; anything but a score or an error of the tree is raised.

    The number of each mutation is written down before it is tried, for whoever finds the process dead.
    """
    found: dict[str, int] = {}
    for number in range(count):
        (folder / "number").write_text(str(seed + number), encoding="utf-8")
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(DEMO_FOLDER, copy)
        write_mutated(copy, kind, random.Random(seed + number))
        try:
            with Qwen3Reranker(str(copy), device="cpu", local_files_only=True) as reranker:
                reranker.rank("capital of China?", ["Beijing", "a text\x00 of another kind " * 20])
            outcome = "ranked"
        except RerankError as error:
            outcome = type(error).__name__
        except BaseException as error:
            raise AssertionError(f"mutation {seed + number} of {kind}: {type(error).__name__}: {error}") from error
        found[outcome] = found.get(outcome, 0) + 1
    return found


if __name__ == "__main__":
    file, number, place = sys.argv[1:4]
    start = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    print(json.dumps(try_mutations(file, int(number), Path(place), start)))
