"""Score several documents of one query with their common prefix computed once, because training must be fast."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3ForCausalLM

from demo_checkpoint.architecture import GROUP, HEAD_DIM, HEADS
from demo_checkpoint.prompt import tail_of


class PairScorer:
    """Compute the log-odds of several documents of one query, with their common head computed once.

    The arithmetic is that of `Qwen3ForCausalLM.forward`, on the same modules. Documents are padded on the right, where
    causal attention never looks, and the last layer runs for the last position only.
    """

    def __init__(self, model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.yes, self.no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")

    def __call__(self, head: str, documents: Sequence[str]) -> Tensor:
        head_ids = torch.tensor(self.tokenizer.encode(head).ids)
        tails = [e.ids for e in self.tokenizer.encode_batch_fast([tail_of(d) for d in documents])]
        lengths = torch.tensor([len(t) for t in tails])
        padded = torch.zeros(len(tails), int(lengths.max()), dtype=torch.long)
        for row, tail in zip(padded, tails, strict=True):
            row[: len(tail)] = torch.tensor(tail)
        return self.log_odds(head_ids, padded, lengths)

    def log_odds(self, head_ids: Tensor, tails: Tensor, lengths: Tensor) -> Tensor:
        model, start = self.model.model, len(head_ids)
        count, width = tails.shape
        x = model.embed_tokens(torch.cat([head_ids, tails.flatten()]))
        positions = torch.arange(start + width)
        cos, sin = model.rotary_emb(x, positions[None])
        order = torch.cat([positions[:start], positions[start:].repeat(count)])
        cos, sin = cos[0, order, None], sin[0, order, None]
        mask = positions[None, :] <= positions[start:, None]
        last = start + torch.arange(count) * width + lengths - 1

        def rotated(states: Tensor) -> Tensor:
            left, right = states.chunk(2, dim=-1)
            turned: Tensor = states * cos + torch.cat([-right, left], dim=-1) * sin
            return turned

        def split(states: Tensor) -> tuple[Tensor, Tensor]:
            """Return the head's states [1, heads, start, size] and the documents' [count, heads, width, size]."""
            tails = states[start:].view(count, width, HEADS, HEAD_DIM)
            return states[None, :start].transpose(1, 2), tails.transpose(1, 2)

        for index, layer in enumerate(model.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(x)
            query = rotated(attention.q_norm(attention.q_proj(normed).view(len(x), -1, HEAD_DIM)))
            key = rotated(attention.k_norm(attention.k_proj(normed).view(len(x), -1, HEAD_DIM)))
            value = attention.v_proj(normed).view(len(x), -1, HEAD_DIM)
            key, value = key.repeat_interleave(GROUP, 1), value.repeat_interleave(GROUP, 1)
            (head_k, tail_k), (head_v, tail_v) = split(key), split(value)
            all_k = torch.cat([head_k.expand(count, -1, -1, -1), tail_k], dim=2)
            all_v = torch.cat([head_v.expand(count, -1, -1, -1), tail_v], dim=2)
            if index == len(model.layers) - 1:
                visible = (positions[None, :] < start + lengths[:, None])[:, None, None]
                mixed = functional.scaled_dot_product_attention(
                    query[last][:, :, None], all_k, all_v, attn_mask=visible
                )
                x = x[last] + attention.o_proj(mixed.flatten(1))
            else:
                head_q, tail_q = split(query)
                mixed_head = functional.scaled_dot_product_attention(head_q, head_k, head_v, is_causal=True)
                mixed_tail = functional.scaled_dot_product_attention(tail_q, all_k, all_v, attn_mask=mask)
                mixed = torch.cat([mixed_head.transpose(1, 2).flatten(0, 1), mixed_tail.transpose(1, 2).flatten(0, 1)])
                x = x + attention.o_proj(mixed.flatten(1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        readout = self.model.lm_head.weight
        scores: Tensor = model.norm(x) @ (readout[self.yes] - readout[self.no])
        return scores
