"""Write the checkpoint folder with the files of a published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM

from demo_checkpoint.prompt import DEFAULT_INSTRUCTION, PREFIX, SUFFIX
from demo_checkpoint.tokenizer import PLAIN_ADDED_TOKENS, SPECIAL_TOKENS

CHAT_TEMPLATE = """\
{%- set given = namespace(instruction=@INSTRUCTION@, query='', document='') -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}{%- set given.instruction = message.content -%}
    {%- elif message.role == 'query' -%}{%- set given.query = message.content -%}
    {%- elif message.role == 'document' -%}{%- set given.document = message.content -%}
    {%- else -%}{{- raise_exception('a reranker reads the roles system, query and document only') -}}
    {%- endif -%}
{%- endfor -%}
{{- @PREFIX@ + '<Instruct>: ' + given.instruction -}}
{{- '\\n<Query>: ' + given.query + '\\n<Document>: ' + given.document + @SUFFIX@ -}}
"""


def chat_template() -> str:
    """Return the prompt as a chat template with the roles `query`, `document`, and `system` for the instruction."""
    filled = {"@INSTRUCTION@": DEFAULT_INSTRUCTION, "@PREFIX@": PREFIX, "@SUFFIX@": SUFFIX}
    template = CHAT_TEMPLATE
    for placeholder, text in filled.items():
        template = template.replace(placeholder, "'" + text.replace("\n", "\\n") + "'")
    return template


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_json(config: Qwen3Config) -> dict[str, Any]:
    """Return the config with the keys of the published checkpoints, which every transformers with Qwen3 reads."""
    copied = (
        *("attention_bias", "attention_dropout", "bos_token_id", "eos_token_id", "head_dim", "hidden_act"),
        *("hidden_size", "initializer_range", "intermediate_size", "max_position_embeddings", "max_window_layers"),
        *("model_type", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "pad_token_id"),
        *("rms_norm_eps", "tie_word_embeddings", "use_cache", "vocab_size"),
    )
    fixed: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"],
        "rope_scaling": None,
        "rope_theta": 1_000_000,
        "sliding_window": None,
        "torch_dtype": "float32",
        "use_sliding_window": False,
    }
    return dict(sorted({**{name: getattr(config, name) for name in copied}, **fixed}.items()))


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    added = [(t, True) for t in SPECIAL_TOKENS] + [(t, False) for t in PLAIN_ADDED_TOKENS]
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {"content": token, **flags, "special": special}
            for token, special in added
        },
        "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
        "bos_token": None,
        "chat_template": chat_template(),
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 40960,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def write_checkpoint(out: Path, model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
    """Write the files for transformers, and those by which sentence-transformers recognizes a yes/no reranker."""
    out.mkdir(parents=True, exist_ok=True)
    config = model.config
    weights = {name: p.detach().float().contiguous() for name, p in model.named_parameters() if "lm_head" not in name}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    write_json(out / "config.json", config_json(config))
    write_json(out / "tokenizer_config.json", tokenizer_json(tokenizer))
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(out / "generation_config.json", {**ids, "do_sample": False, "max_new_tokens": 1})

    package = "sentence_transformers"
    parts = (
        ("", f"{package}.base.modules.transformer.Transformer"),
        ("1_LogitScore", f"{package}.cross_encoder.modules.logit_score.LogitScore"),
    )
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(parts)]
    write_json(out / "modules.json", modules)
    forward = {"method": "forward", "method_output_name": "logits"}
    write_json(
        out / "sentence_bert_config.json",
        {
            "transformer_task": "text-generation",
            "modality_config": {"text": forward, "message": {**forward, "format": "flat"}},
            "module_output_name": "causal_logits",
        },
    )
    write_json(
        out / "config_sentence_transformers.json",
        {
            "model_type": "CrossEncoder",
            "activation_fn": "torch.nn.modules.linear.Identity",
            "prompts": {},
            "default_prompt_name": None,
        },
    )
    write_json(
        out / "1_LogitScore" / "config.json",
        {
            "true_token_id": tokenizer.token_to_id("yes"),
            "false_token_id": tokenizer.token_to_id("no"),
            "module_input_name": "causal_logits",
        },
    )
