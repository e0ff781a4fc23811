"""The config of the model: a small Qwen3."""

from __future__ import annotations

from tokenizers import Tokenizer
from transformers import Qwen3Config

HEADS, KEY_VALUE_HEADS, HEAD_DIM = 4, 2, 64
GROUP = HEADS // KEY_VALUE_HEADS


def make_config(tokenizer: Tokenizer) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=40960,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        use_cache=True,
        bos_token_id=tokenizer.token_to_id("<|endoftext|>"),
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        architectures=["Qwen3ForCausalLM"],
    )
