"""Parts of a tokenizer.json that the library panics on, or takes for ever with, do not reach it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder
from qwen3_rerank_plugins.engine.text.tokenizer_file import SPLIT, library_errors, read_blueprint
from qwen3_rerank_plugins.errors import NoRoomError, UnsupportedCheckpointError

Blueprint = dict[str, Any]


def nested(kind: str, inner: str, part: Any, depth: int) -> Any:
    for _ in range(depth):
        part = {"type": "Sequence", inner: [part]}
    return part


def split(pattern: Any) -> Blueprint:
    return {"pre_tokenizer": {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}}


HOSTILE: dict[str, tuple[Blueprint, str]] = {
    "panics when it is read": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "Precompiled"),
    "panics at the first text": ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "FixedLength"),
    "panics at an empty pattern": (
        {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}},
        "Replace",
    ),
    "makes a text a million times longer": (
        {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "x" * 10**6}},
        "Replace",
    ),
    "takes a time that grows exponentially": (split({"Regex": "(a+)+$"}), "splits texts at"),
    "splits elsewhere": (split({"String": ""}), "splits texts at"),
    "is deep": ({"normalizer": nested("normalizer", "normalizers", {"type": "NFC"}, 100)}, "more than 8 parts"),
    "is long": (
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 10**5}},
        "more than 8 parts",
    ),
    "doubles a text, and again": (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 2}},
        "ByteLevel twice",
    ),
    "is a sequence of nothing": ({"normalizer": {"type": "Sequence"}}, "no list of normalizers"),
    "is a number": ({"normalizer": 5}, "normalizer is not a JSON object"),
    "has an unhashable kind": ({"normalizer": {"type": ["NFC"]}}, "which no Qwen3 tokenizer has"),
    "has no model": ({"model": None}, "model is not a JSON object"),
    "has another model": ({"model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}}, "'WordLevel', not BPE"),
}


def write(folder: Path, change: Callable[[Blueprint], object]) -> Path:
    blueprint = json.loads((DEMO_FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    change(blueprint)
    (folder / "tokenizer.json").write_text(json.dumps(blueprint), encoding="utf-8")
    return folder / "tokenizer.json"


@pytest.mark.parametrize("what", HOSTILE)
def test_a_part_that_no_qwen3_tokenizer_has_is_refused_by_name(what: str, tmp_path: Path) -> None:
    changes, message = HOSTILE[what]
    file = write(tmp_path, lambda blueprint: blueprint.update(changes))
    with pytest.raises(UnsupportedCheckpointError, match=rf"not a usable .*: .*{message}.*Take the tokenizer"):
        PromptEncoder(file)


@pytest.mark.parametrize(
    ("key", "value"), [("dropout", 0.5), ("continuing_subword_prefix", "####"), ("end_of_word_suffix", "</w>")]
)
def test_a_model_that_panics_or_rolls_dice_is_refused(key: str, value: object, tmp_path: Path) -> None:
    file = write(tmp_path, lambda blueprint: blueprint["model"].update({key: value}))
    with pytest.raises(UnsupportedCheckpointError, match=f"its model has {key}="):
        PromptEncoder(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda blueprint: blueprint["model"]["merges"].append(["a", "not there"]),
        lambda blueprint: blueprint["model"]["vocab"].update(a=2**40),
        lambda blueprint: blueprint.update(added_tokens=[{"content": "x", "id": "y"}]),
        lambda blueprint: blueprint.update(added_tokens=5),
        lambda blueprint: blueprint.pop("added_tokens"),
        lambda blueprint: blueprint["model"].update(vocab={}, merges=[]),
    ],
)
def test_what_the_library_refuses_is_an_error_of_the_tree(
    change: Callable[[Blueprint], object], tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedCheckpointError):
        PromptEncoder(write(tmp_path, change))


def test_the_pattern_of_the_published_tokenizer_and_harmless_parts_are_taken(
    qwen_tokenizer_file: Path, tmp_path: Path
) -> None:
    published = read_blueprint(qwen_tokenizer_file)
    assert published["pre_tokenizer"]["pretokenizers"][0]["pattern"] == {"Regex": SPLIT}
    parts = [{"type": kind} for kind in ("NFKC", "Lowercase")]
    file = write(tmp_path, lambda blueprint: blueprint.update(normalizer={"type": "Sequence", "normalizers": parts}))
    assert PromptEncoder(file)._encode_text("YES") == PromptEncoder(file)._encode_text("yes")


def test_a_panic_becomes_an_error_and_an_interrupt_stays_one() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(UnsupportedCheckpointError, match="tokenizer: out of bounds. Take"), library_errors("a file"):
        raise panic("out of bounds")
    for kind in (KeyboardInterrupt, SystemExit, NoRoomError):
        with pytest.raises(kind), library_errors("a file"):
            raise kind
    with pytest.raises(ValueError, match="kept"), library_errors("a file", panics_only=True):
        raise ValueError("kept")
