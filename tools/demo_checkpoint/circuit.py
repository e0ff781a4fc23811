"""The word-matching circuit that the weights start from."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3ForCausalLM

from demo_checkpoint.architecture import HEAD_DIM
from demo_checkpoint.prompt import MARKERS
from demo_checkpoint.teacher import STOPWORDS, Teacher, stem
from demo_checkpoint.tokenizer import PLAIN_ADDED_TOKENS, SPECIAL_TOKENS


class MatchingInit:
    """Starting weights with which a document's tokens attend to the same tokens in the query.

    The hidden vector has named coordinates and an identity, a vector that is specific to the token:

    * layer 0 writes which section a token is in (one head attends to the section markers) and copies the identity of
      the previous token (one head attends one position back);
    * layer 1 compares identities: queries and keys share a projection, on coordinates that rotary position hardly
      turns. A token attends to an equal token in the query, or else to the marker `<Query`, which has no identity;
    * layer 2 compares once more, now the token together with the previous one, and reads the matches nearby;
    * layer 3 sums the matches at the last position, weighted by the rarity of the words.

    All other weights are small noise, and training changes all of them. The numbers below set how sharply the heads
    choose: an equal token must outweigh the marker, and the marker must outweigh the noise of some twenty others.
    """

    CONST, MARK, IDF, READ = 0, (1, 2, 3, 6), 4, 5  # constant; one per section marker; rarity; yes minus no
    SECTION = (7, 8, 9, 10)  # instruct, query, document, suffix: written by layer 0
    MATCH, MATCH_IDF = (11, 13, 15), (12, 14, 16)  # found, and how rare: two looks by layer 1, one by layer 2
    AGREED, NEAR, GATHERED = 17, 18, 19  # both looks of layer 1; matches nearby; the sum of all
    IDENTITY, PREVIOUS = slice(24, 112), slice(112, 128)
    STILL_A, STILL_B = 31, 63  # the pair of head coordinates that rotary position turns least
    FIRST_SLOW = 13  # from this pair on, a turn over a few hundred positions is small

    def __init__(self, model: Qwen3ForCausalLM, tokenizer: Tokenizer, teacher: Teacher, seed: int) -> None:
        self.model, self.tokenizer, self.teacher = model, tokenizer, teacher
        self.generator = torch.Generator().manual_seed(seed)
        self.half = HEAD_DIM // 2

    @torch.no_grad()
    def apply(self) -> None:
        for name, weight in self.model.named_parameters():
            if weight.dim() == 2:
                small = 0.005 if "o_proj" in name or "down_proj" in name else 0.02
                weight.copy_(torch.randn(weight.shape, generator=self.generator) * small)
            if "o_proj" in name or "down_proj" in name:
                weight[: self.IDENTITY.start] = 0.0
        self._embeddings()
        self._find_sections()
        self._match()
        self._look_around()
        self._gather()
        scale = torch.full_like(self.model.model.norm.weight, 0.1)
        scale[: self.IDENTITY.start] = 1.0
        self.model.model.norm.weight.copy_(scale)

    # -- embeddings: a constant, the rarity, and an identity; words with common letters have similar identities

    def _embeddings(self) -> None:
        table = self.model.model.embed_tokens.weight
        table.zero_()
        table[:, self.CONST] = 3.0  # with an identity of length 9, a hidden vector of about unit mean square
        added = set(SPECIAL_TOKENS + PLAIN_ADDED_TOKENS)
        token_df = Counter(i for e in self.tokenizer.encode_batch_fast(list(self.teacher.passages)) for i in set(e.ids))
        for token, i in self.tokenizer.get_vocab().items():
            text = token if token in added else self.tokenizer.decode([i])
            word = re.sub(r"^\W+", "", text.lower()) or text
            table[i, self.IDENTITY] = self._spell(word, text)
            if word not in STOPWORDS and token not in added and word.isalnum():
                n = len(self.teacher.passages)
                table[i, self.IDF] = 3.0 * math.log(1 + n / (token_df[i] + 2)) / math.log(1 + n / 2)
        for coordinate, marker in zip(self.MARK, MARKERS, strict=True):
            row = table[self.tokenizer.token_to_id(marker)]
            row[1:] = 0.0
            row[coordinate] = 8.0
        for word, sign in (("yes", 1.0), ("no", -1.0)):
            table[self.tokenizer.token_to_id(word), self.READ] = 4.0 * sign

    def _spell(self, word: str, text: str) -> Tensor:
        marked = f"^{word}$"
        grams = [marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)]
        vector = 1.0 * self._named(f"word {word}") + 1.0 * self._named(f"stem {stem(word)}") + 0.3 * self._named(text)
        if grams:
            vector = vector + 0.8 * torch.stack([self._named(g) for g in grams]).sum(0) / len(grams) ** 0.5
        return 9.0 * functional.normalize(vector, dim=0)

    def _named(self, name: str) -> Tensor:
        """The unit vector of a name, which is random but the same in every run."""
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return functional.normalize(torch.randn(self.IDENTITY.stop - self.IDENTITY.start, generator=generator), dim=0)

    # -- the layers

    def _rows(self, weight: Tensor, head: int) -> Tensor:
        return weight[head * HEAD_DIM : (head + 1) * HEAD_DIM]

    def _projection(self, rows: int) -> Tensor:
        """Orthogonal rows, so that the projection keeps similarities."""
        tall = torch.randn(self.IDENTITY.stop - self.IDENTITY.start, rows, generator=self.generator)
        orthogonal: Tensor = torch.linalg.qr(tall).Q
        return orthogonal.T

    def _frequency(self, pair: int) -> float:
        return float(1_000_000.0 ** (-pair / self.half))

    def _turned_back(self, weight: Tensor, positions: int) -> None:
        """A constant on the fast pairs, rotated so that it matches an unrotated key `positions` before it."""
        for pair in range(6):
            angle = self._frequency(pair) * positions
            weight[pair, self.CONST] = math.cos(angle)
            weight[pair + self.half, self.CONST] = -math.sin(angle)

    def _slow(self) -> list[int]:
        pairs = range(self.FIRST_SLOW, self.half - 1)
        return [*pairs, *(pair + self.half for pair in pairs)]

    def _sharpen(self, layer: int, still: float, fast: float, slow: float) -> None:
        """The norms of queries and keys: larger values sharpen the choice on those coordinates."""
        attention = self.model.model.layers[layer].self_attn
        for norm in (attention.q_norm.weight, attention.k_norm.weight):
            norm[:] = 1.0
            for pair in range(self.half):
                value = fast if pair < self.FIRST_SLOW else slow
                norm[pair] = norm[pair + self.half] = value
            norm[self.STILL_A] = norm[self.STILL_B] = still

    def _find_sections(self) -> None:
        attention = self.model.model.layers[0].self_attn
        self._sharpen(0, still=2.2, fast=2.0, slow=1.0)
        key, query = self._rows(attention.k_proj.weight, 0), self._rows(attention.q_proj.weight, 0)
        key[self.STILL_A, self.CONST] = 1.0
        query[self.STILL_B, self.CONST] = 1.0
        value, out = self._rows(attention.v_proj.weight, 0), attention.o_proj.weight
        for row, (mark, section, strength) in enumerate(
            zip(self.MARK, self.SECTION, (2.0, 3.0, 4.8, 12.0), strict=True)
        ):
            key[self.STILL_B, mark] = strength / 8.0
            value[row, mark] = 1.0
            out[section, row] = 1 / 3
        self._turned_back(self._rows(attention.k_proj.weight, 1), 0)
        self._turned_back(self._rows(attention.q_proj.weight, 2), 1)
        self._turned_back(self._rows(attention.q_proj.weight, 3), 2)
        width = self.PREVIOUS.stop - self.PREVIOUS.start
        self._rows(attention.v_proj.weight, 1)[:width, self.IDENTITY] = self._projection(width)
        out[self.PREVIOUS, 2 * HEAD_DIM : 2 * HEAD_DIM + width] = torch.eye(width)

    def _alike(self, layer: int, group: int, with_previous: bool) -> None:
        """A head that attends to its own identity in the query, or else to the marker."""
        attention = self.model.model.layers[layer].self_attn
        slow = self._slow()
        key, query = self._rows(attention.k_proj.weight, group), self._rows(attention.q_proj.weight, 2 * group)
        key[slow, self.IDENTITY] = query[slow, self.IDENTITY] = self._projection(len(slow))
        if with_previous:
            width = self.PREVIOUS.stop - self.PREVIOUS.start
            mixed = torch.linalg.qr(torch.randn(len(slow), width, generator=self.generator)).Q
            key[slow, self.PREVIOUS] = query[slow, self.PREVIOUS] = 1.2 * mixed
        key[self.STILL_A, self.SECTION[1]] = 2.9
        key[self.STILL_A, self.CONST] = -1.9
        query[self.STILL_A, self.CONST] = 1.9

    def _report_match(self, layer: int, group: int, found: int, rarity: int) -> None:
        attention = self.model.model.layers[layer].self_attn
        value, column = self._rows(attention.v_proj.weight, group), 2 * group * HEAD_DIM
        value[0, self.SECTION[1]], value[0, self.MARK[1]] = 0.25, -0.125
        value[1, self.IDF] = 1.0
        attention.o_proj.weight[found, column] = 4.0
        attention.o_proj.weight[rarity, column + 1] = 1.0

    def _match(self) -> None:
        self._sharpen(1, still=2.2, fast=1.0, slow=2.2)
        for group in (0, 1):
            self._alike(1, group, with_previous=False)
            self._report_match(1, group, self.MATCH[group], self.MATCH_IDF[group])
        mlp = self.model.model.layers[1].mlp
        for weight in (mlp.gate_proj.weight, mlp.up_proj.weight):
            weight[0] = 0.0
        mlp.gate_proj.weight[0, list(self.MATCH[:2])] = 1.0
        mlp.gate_proj.weight[0, self.CONST] = -5.5 / 3
        mlp.up_proj.weight[0, list(self.MATCH_IDF[:2])] = 0.5
        mlp.down_proj.weight[self.AGREED, 0] = 0.5

    def _look_around(self) -> None:
        attention = self.model.model.layers[2].self_attn
        self._sharpen(2, still=2.2, fast=1.2, slow=2.2)
        self._alike(2, 0, with_previous=True)
        self._report_match(2, 0, self.MATCH[2], self.MATCH_IDF[2])
        self._turned_back(self._rows(attention.k_proj.weight, 1), 0)
        self._turned_back(self._rows(attention.q_proj.weight, 2), 2)
        self._rows(attention.v_proj.weight, 1)[0, self.AGREED] = 1.0
        attention.o_proj.weight[self.NEAR, 2 * HEAD_DIM] = 1.0

    def _gather(self) -> None:
        attention = self.model.model.layers[3].self_attn
        self._sharpen(3, still=0.8, fast=0.8, slow=0.8)
        key = self._rows(attention.k_proj.weight, 0)
        key[self.STILL_A, self.CONST] = 1.0
        key[self.STILL_B, self.SECTION[2]], key[self.STILL_B, self.CONST] = 5.0, -20.0 / 3
        for coordinate, share in ((self.AGREED, 1.0), (self.MATCH_IDF[2], 0.7)):
            key[self.STILL_B, coordinate] = share
            self._rows(attention.v_proj.weight, 0)[0, coordinate] = share
        self._rows(attention.q_proj.weight, 0)[self.STILL_B, self.CONST] = 1.0
        self._rows(attention.q_proj.weight, 1)[[self.STILL_A, self.STILL_B], self.CONST] = torch.tensor([0.8, 0.6])
        attention.o_proj.weight[self.READ, [0, HEAD_DIM]] = torch.tensor([0.2, 0.2])
        attention.o_proj.weight[self.GATHERED, [0, HEAD_DIM]] = torch.tensor([0.5, -0.5])
