"""Checkpoints with random weights and the real tokenizer, or that of the demo, made on the spot.

Random weights rank nothing sensibly; they show that two implementations compute the same function.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from tests.bundled_data import QWEN_TOKENIZER

GROUPED = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # 4 x 32 != 64, as in the real 0.6B
    "intermediate_size": 128,
    "tie_word_embeddings": True,
}
UNTIED = {**GROUPED, "tie_word_embeddings": False, "head_dim": 16}
UNGROUPED = {**GROUPED, "num_key_value_heads": 4, "num_hidden_layers": 2}
ONE_LAYER = {**GROUPED, "num_hidden_layers": 1, "num_key_value_heads": 1}
SMALL: dict[str, Any] = {**ONE_LAYER, "tokenizer": DEMO_FOLDER}
SHAPES = {"grouped": GROUPED, "untied": UNTIED, "ungrouped": UNGROUPED, "one-layer": ONE_LAYER}
"""Those with the real vocabulary, by name."""

# Ours, in the roles that sentence-transformers uses: the instruction is the system message.
CHAT_TEMPLATE = (
    "{%- set found = namespace(system='', query='', document='') -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{%- set found.system = message.content -%}"
    "{%- elif message.role == 'query' -%}{%- set found.query = message.content -%}"
    "{%- elif message.role == 'document' -%}{%- set found.document = message.content -%}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|im_start|>system\\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\\n<|im_start|>user\\n<Instruct>: \' -}}'
    "{{- found.system + '\\n<Query>: ' + found.query + '\\n<Document>: ' + found.document -}}"
    "{{- '<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' -}}"
)


def load_reference(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The checkpoint as transformers loads it, in any version: the word for the dtype has changed."""
    return AutoModelForCausalLM.from_pretrained(folder).to(dtype).eval()


def make_checkpoint(
    folder: Path, dtype: torch.dtype = torch.float32, *, tokenizer: Path = QWEN_TOKENIZER, seed: int = 0, **shape: Any
) -> Path:
    """Write a random checkpoint of the given shape beside a tokenizer.

    The real one is `QWEN_TOKENIZER`. Where a test is about files or weights alone, `DEMO_FOLDER` saves seconds at every
    load: its vocabulary is sixteen times smaller.
    """
    folder.mkdir(parents=True, exist_ok=True)
    published = json.loads((tokenizer / "config.json").read_text(encoding="utf-8"))
    ignored = ("architectures", "model_type", "torch_dtype", "transformers_version")
    config = Qwen3Config(**{key: value for key, value in {**published, **shape}.items() if key not in ignored})
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # all ones would hide a norm that is applied twice or to the wrong rows
                parameter.uniform_(0.5, 1.5)
            elif "embed" in name or "lm_head" in name:  # log-odds of several units, as from real weights
                parameter.normal_(0, 0.5)
            else:  # strong layers, so that a mistake in any of them shows in the score
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    model.to(dtype).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return folder
