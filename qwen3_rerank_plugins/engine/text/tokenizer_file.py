"""Read a tokenizer.json and check it before the tokenizers library sees it.

The library is native code. Some files make it panic, which `except Exception` does not catch, or take all memory or
hours. So only the parts of a Qwen3 tokenizer, and parts that are as harmless, are allowed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins._printable import one_line, shown
from qwen3_rerank_plugins.engine.files import exists, read_json
from qwen3_rerank_plugins.errors import RerankError, UnsupportedCheckpointError

REMEDY = "Take the tokenizer.json of the Qwen3-Reranker that the checkpoint was made from."
MOST_PARTS = 8
"""Parts of a normalizer or a pre-tokenizer. Each may lengthen a text; a Qwen3 tokenizer has at most two."""
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern of every Qwen3 tokenizer. With others, time may grow exponentially with the text."""
_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Nmt"}
_PRE_TOKENIZERS = {"ByteLevel", "Whitespace", "WhitespaceSplit", "Digits", "Punctuation", "BertPreTokenizer", "Split"}
_POST_PROCESSORS = {"ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"}
_DECODERS = {"ByteLevel", "Fuse"}
_KINDS = (
    ("normalizer", "normalizers", _NORMALIZERS),
    ("pre_tokenizer", "pretokenizers", _PRE_TOKENIZERS),
    ("post_processor", "processors", _POST_PROCESSORS),
    ("decoder", "decoders", _DECODERS),
)


def read_blueprint(file: Path) -> dict[str, Any]:
    """Return the content of a tokenizer.json after checking every part.

    Raises:
        CheckpointNotFoundError: the file cannot be read.
        UnsupportedCheckpointError: the file is not a tokenizer, or has a part that no Qwen3 tokenizer has.
    """
    name = str(file.parent)
    if not exists(name, file):
        raise UnsupportedCheckpointError(f"{shown(name)} has no {file.name}. {REMEDY}")
    try:
        blueprint = read_json(name, file)
    except UnsupportedCheckpointError as error:
        raise UnsupportedCheckpointError(
            f"{shown(file)} is not a usable fast tokenizer: {one_line(error)}. {REMEDY}"
        ) from error
    if not isinstance(blueprint, dict):
        raise _refusal(file, "it is not a JSON object")
    for key, inner, allowed in _KINDS:
        parts = list(_parts(file, key, blueprint.get(key), inner))
        for part in parts:
            _check_part(file, key, part, allowed)
        if sum(part.get("type") == "ByteLevel" for part in parts) > 1 and key == "pre_tokenizer":
            raise _refusal(file, "its pre_tokenizer has ByteLevel twice, and each doubles the text")
    _check_model(file, blueprint.get("model"))
    return blueprint


@contextlib.contextmanager
def library_errors(file: object, *, panics_only: bool = False) -> Iterator[None]:
    """Turn errors and panics of the tokenizers library into `UnsupportedCheckpointError`.

    Args:
        file: the tokenizer.json that the library works on.
        panics_only: leave ordinary exceptions as they are.

    Raises:
        UnsupportedCheckpointError: the library raised, or panicked.
    """
    try:
        yield
    except RerankError:
        raise
    except BaseException as error:
        panicked = type(error).__name__ == "PanicException"  # not an Exception
        if panicked or (isinstance(error, Exception) and not panics_only):
            raise _refusal(file, one_line(error)) from error
        raise


def _parts(file: Path, key: str, part: Any, inner: str) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a component in order, without recursion, because sequences may be nested deeply."""
    waiting, count = [part] if part is not None else [], 0
    while waiting:
        part = waiting.pop()
        count += 1
        if count > MOST_PARTS:
            raise _refusal(file, f"its {key} has more than {MOST_PARTS} parts")
        if not isinstance(part, dict):
            raise _refusal(file, f"its {key} is not a JSON object")
        if part.get("type") != "Sequence":
            yield part
            continue
        if not isinstance(part.get(inner), list):
            raise _refusal(file, f"a Sequence of its {key} has no list of {inner}")
        waiting += reversed(part[inner])


def _check_part(file: Path, key: str, part: Mapping[str, Any], allowed: set[str]) -> None:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in allowed:
        raise _refusal(file, f"its {key} is {shown(kind)}, which no Qwen3 tokenizer has")
    pattern = part.get("pattern")
    if kind == "Split" and pattern != {"Regex": SPLIT}:
        raise _refusal(file, f"it splits texts at {shown(pattern)}, not where Qwen3 tokenizers do")


def _check_model(file: Path, model: Any) -> None:
    if not isinstance(model, dict):
        raise _refusal(file, "its model is not a JSON object")
    if model.get("type", "BPE") != "BPE":
        raise _refusal(file, f"its model is {shown(model.get('type'))}, not BPE")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise _refusal(file, f"its model has {key}={shown(model[key])}, which no Qwen3 tokenizer has")


def _refusal(file: object, reason: str) -> UnsupportedCheckpointError:
    return UnsupportedCheckpointError(f"{shown(file)} is not a usable fast tokenizer: {reason}. {REMEDY}")
