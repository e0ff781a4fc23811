"""The demo checkpoint in the forms that servers need: a chat template, and a sequence-classification conversion."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.request import DEFAULT_INSTRUCTION, make_request
from qwen3_rerank_plugins.engine.text.template import Control, PromptPart, build_prompt
from qwen3_rerank_plugins.engine.text.tokenizer import PromptEncoder


def write_chat_template(file: Path) -> Path:
    """Write the model card's prompt as a score template for vLLM, and return the file."""
    roles = ("query", "document")
    query, document = (
        f'{{{{ messages | selectattr("role", "eq", "{role}") | map(attribute="content") | first }}}}' for role in roles
    )
    instruction = f'{{{{ instruction | default("{DEFAULT_INSTRUCTION}", true) }}}}'
    prompt = build_prompt(make_request(query, [document], instruction))
    text = f"{_as_text(prompt.head)}{prompt.documents[0].characters}{_as_text(prompt.suffix)}"
    file.write_text(text + '{{ "" }}', encoding="utf-8")  # without it, Jinja removes the last line break
    return file


def write_conversion(folder: Path, *, template: bool) -> Path:
    """Write a checkpoint with one score row instead of the yes and no rows, and return its folder.

    With `template`, its tokenizer inserts pairs of texts into the prompt.
    """
    folder.mkdir()
    encoder = PromptEncoder(DEMO_FOLDER / "tokenizer.json")
    weights = load_file(DEMO_FOLDER / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    weights["score.weight"] = (rows[encoder.yes_id] - rows[encoder.no_id])[None].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((DEMO_FOLDER / "config.json").read_text(encoding="utf-8"))
    config.update(architectures=["Qwen3ForSequenceClassification"], id2label={"0": "yes"}, label2id={"yes": 0})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(DEMO_FOLDER / "tokenizer_config.json", folder)
    blueprint = json.loads((DEMO_FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    if template:
        lead = {"type": "Prepend", "prepend": " "}  # the space before query and document
        blueprint["normalizer"] = {"type": "Sequence", "normalizers": [blueprint["normalizer"], lead]}
        blueprint["post_processor"] = _prompt_post_processor(encoder)
    (folder / "tokenizer.json").write_text(json.dumps(blueprint), encoding="utf-8")
    return folder


def _prompt_post_processor(encoder: PromptEncoder) -> dict[str, object]:
    """The post-processor of a tokenizer that makes HEAD query MIDDLE document END of a pair."""
    prompt = build_prompt(make_request("QUERY", ["DOCUMENT"], None))
    tokens = encoder.encode(prompt, 8192)
    end = 8192 - encoder.max_document_tokens(prompt, 8192) - len(tokens.prefix)
    document = tokens.document_ids[0][:-end]
    query = encoder.encode(build_prompt(make_request("", ["QUERY"], None)), 8192).document_ids[0][:-end]
    at = next(i for i in range(len(tokens.prefix), 0, -1) if tokens.prefix[i : i + len(query)] == query)
    parts = {
        "HEAD": tokens.prefix[:at],
        "MIDDLE": tokens.prefix[at + len(query) :],
        "END": tokens.document_ids[0][len(document) :],
    }
    special = {name: {"id": name, "ids": list(ids), "tokens": [f"#{i}" for i in ids]} for name, ids in parts.items()}
    layout: list[dict[str, object]] = []
    for name, sequence in (("HEAD", "A"), ("MIDDLE", "B")):
        layout += [
            {"SpecialToken": {"id": name, "type_id": 0}},
            {"Sequence": {"id": sequence, "type_id": 0}},
        ]
    layout.append({"SpecialToken": {"id": "END", "type_id": 0}})
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single, "pair": layout, "special_tokens": special}


def _as_text(parts: Iterable[PromptPart]) -> str:
    return "".join(part.name if isinstance(part, Control) else part.characters for part in parts)
