"""The documented table of errors, walked: every leaf of the tree is provoked for real, through the public names."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker, RerankError, errors
from qwen3_rerank_plugins.engine.checkpoint import DEMO_FOLDER

TABLE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^\| `(\w+Error)` \|", TABLE, re.MULTILINE)
PARENTS = {"RerankError", "CheckpointError", "ScoringError"}
"""They are never raised themselves."""


def copy_of_the_demo(folder: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, folder / "checkpoint"))


def rank(model: str | Path = "demo", **options: object) -> None:
    with Qwen3Reranker(str(model), **options) as reranker:  # type: ignore[arg-type]
        reranker.rank("a question", ["some text"])


def wrong_option(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo", dtype="int3")  # type: ignore[arg-type]


def one_string_for_a_list(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo").rank("a question", "one text")


def bytes_for_text(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo").rank("a question", ["text", b"bytes"])  # type: ignore[list-item]


def a_query_that_fills_the_prompt(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo", max_length=100).rank("word " * 200, ["text"])


def a_document_that_does_not_fit(_: Path, __: pytest.MonkeyPatch) -> None:
    Qwen3Reranker("demo", max_length=100, long_documents="error").rank("a question", ["text", "word " * 200])


def a_folder_that_is_not_there(folder: Path, __: pytest.MonkeyPatch) -> None:
    rank(folder / "nothing")


def a_model_of_another_family(folder: Path, __: pytest.MonkeyPatch) -> None:
    checkpoint = copy_of_the_demo(folder)
    config = checkpoint / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("Qwen3ForCausalLM", "BertModel"), encoding="utf-8")
    rank(checkpoint)


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    checkpoint = copy_of_the_demo(folder)
    weights = load_file(checkpoint / "model.safetensors")
    change(weights)
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return checkpoint


def a_matrix_that_is_missing(folder: Path, __: pytest.MonkeyPatch) -> None:
    rank(change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight")))


def infinite_weights(folder: Path, __: pytest.MonkeyPatch) -> None:
    rank(change_weights(folder, lambda weights: weights["model.layers.2.mlp.up_proj.weight"].fill_(torch.inf)))


def fail_in_every_pass(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(self: object, batch: object) -> None:
        raise error

    monkeypatch.setattr("qwen3_rerank_plugins.engine.model.PackedModel.__call__", failing)


def memory_for_nothing(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in_every_pass(monkeypatch, torch.OutOfMemoryError("tried to allocate a lot"))
    rank(max_batch_tokens=4321)  # an engine of its own, which no other test shares


def a_broken_kernel(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in_every_pass(monkeypatch, RuntimeError("the kernel fell over"))
    rank(max_batch_tokens=4322)


def a_closed_reranker(_: Path, __: pytest.MonkeyPatch) -> None:
    reranker = Qwen3Reranker("demo")
    reranker.close()
    reranker.rank("a question", ["text"])


def no_langchain(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    for name in [name for name in sys.modules if name.startswith("qwen3_rerank_plugins.langchain")]:
        monkeypatch.delitem(sys.modules, name)
    import qwen3_rerank_plugins.langchain  # noqa: F401


PROVOKED: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], str]] = {
    "SettingsError": (wrong_option, "dtype must be one of 'auto', 'bfloat16'"),
    "RequestError": (one_string_for_a_list, r"wrap it in a list: \[document\]"),
    "InputTypeError": (bytes_for_text, r"documents\[1\] must be a string, got bytes. Decode it first"),
    "NoRoomError": (
        a_query_that_fills_the_prompt,
        r"take \d+ tokens and max_length is 100.*raise max_length to at least",
    ),
    "LongDocumentError": (
        a_document_that_does_not_fit,
        r"1 of 2 documents do not fit in max_length=100: the longest, documents\[1\], by \d+ tokens. Raise max_length",
    ),
    "CheckpointNotFoundError": (a_folder_that_is_not_there, "There is no folder .*Check the path"),
    "UnsupportedCheckpointError": (a_model_of_another_family, "is BertModel, neither Qwen3ForCausalLM"),
    "IncompleteCheckpointError": (a_matrix_that_is_missing, "1 parameters are missing from the files .*Download"),
    "NonFiniteScoreError": (infinite_weights, r"no finite score for 1 of 1 documents \(positions 0\).*dtype='float32'"),
    "DeviceMemoryError": (memory_for_nothing, r"A pass of \d+ tokens .* ran out of device memory: tried .* Lower"),
    "PassError": (a_broken_kernel, "RuntimeError: the kernel fell over"),
    "ClosedError": (a_closed_reranker, "closed. Make a new one"),
    "MissingExtraError": (no_langchain, r"pip install 'qwen3-rerank-plugins\[langchain\]'"),
}


def test_every_error_of_the_table_is_provoked_here() -> None:
    assert set(DOCUMENTED) - PARENTS == set(PROVOKED)


@pytest.mark.parametrize("name", PROVOKED)
def test_an_error_of_the_table_says_what_happened_and_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provoke, message = PROVOKED[name]
    with pytest.raises(RerankError, match=f"(?s){message}") as raised:
        provoke(tmp_path, monkeypatch)
    assert type(raised.value) is getattr(errors, name)
    for also in re.findall(rf"^\| `{name}` \| `(\w+)` \|", TABLE, re.MULTILINE):
        assert also in {base.__name__ for base in type(raised.value).__mro__}
