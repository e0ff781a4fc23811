"""Build the demo checkpoint: a tiny Qwen3ForCausalLM that orders documents by the words they share with the query.

    python scripts/build_demo_checkpoint.py --data ../shared/data --out qwen3_rerank_plugins/demo_checkpoint

The product is a checkpoint folder of a few megabytes with the shape of the real Qwen3-Reranker: same prompt, same
control tokens, same yes/no read-out. It exists so that the demo, the examples and the tests run offline in seconds.
It knows nothing about the world; it matches words, and it is no judge of quality.

How it is made, all on the CPU and seeded:

1. a small byte-level BPE is trained on the passages (never on the queries of the evaluation sets);
2. the weights start from a hand-built word-matching circuit (`MatchingInit`), because a random model of this size
   needs hours to discover matching by itself;
3. the model is trained on pseudo-queries cut from passages, against hard negatives that share rare words, to give
   the log-odds of a lexical teacher (a BM25 with light stemming);
4. the folder is written, loaded back with the stock classes, and evaluated on questions no step has seen.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import re
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

# ------------------------------------------------------------------------------------------------- the prompt

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
OTHER_INSTRUCTIONS = (
    "Given a question, retrieve passages that answer the question",
    "Given a question, retrieve Wikipedia passages that answer the question",
    "Given a biomedical research question, retrieve study conclusions that answer the question",
    "Given the user query, retrieval the relevant passages",
    "Find the sentence that best matches the search terms",
    "Retrieve support articles that solve the problem of the customer",
)
# The tokens that open the sections of a prompt: instruction, query, document, and what follows.
MARKERS = ("<Instruct", "<Query", "<Document", "</think>")


def head_of(instruction: str, query: str) -> str:
    """Everything before the document: it is the same for all the documents of a query."""
    return f"{PREFIX}<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"


def tail_of(document: str) -> str:
    """The document and what follows it. Tokenised apart from the head, it gives the ids of the whole prompt."""
    return f" {document}{SUFFIX}"


# ------------------------------------------------------------------------------------------------- the texts

SET_FILES = {
    "xquad_multilingual/en": "sets/xquad_multilingual/en.jsonl",
    "pubmedqa_conclusions": "sets/pubmedqa_conclusions/test.jsonl",
    "noveleval_2306": "sets/noveleval_2306/test.jsonl",
}
TARGETS = {"xquad_multilingual/en": 0.65, "pubmedqa_conclusions": 0.70, "noveleval_2306": 0.45}
ENGLISH_SOURCES = (*SET_FILES.values(), "sets/xquad_crosslingual/x2en.jsonl", "sets/longdoc_xquad_en/test.jsonl")
CONTROL_SPELLING = re.compile(r"<\|\w+\|>|</?(?:think|tool_call|tool_response)>")


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def passages_in(path: Path) -> list[str]:
    """The distinct candidate texts of a set, long documents cut into paragraphs. Queries are not read."""
    texts = (text for row in read_jsonl(path) for c in row["candidates"] for text in c["text"].split("\n"))
    return [t for t in dict.fromkeys(text.strip() for text in texts) if len(t) > 20 and not CONTROL_SPELLING.search(t)]


def sentences_in(passage: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+(?=[A-Z\"(])", passage) if len(s) > 20]


# ------------------------------------------------------------------------------------------------- the tokenizer

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
PLAIN_ADDED_TOKENS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE with Qwen's normalizer, splitting and control tokens; the template's words are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    added = len(SPECIAL_TOKENS) + len(PLAIN_ADDED_TOKENS)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - added,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    template = CONTROL_SPELLING.sub("\n", head_of(DEFAULT_INSTRUCTION, "") + SUFFIX)
    tokenizer.train_from_iterator([*texts, *["yes", "no", template] * 5000], trainer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in PLAIN_ADDED_TOKENS])
    for token in ("yes", "no", *MARKERS):
        if len(tokenizer.encode(token).ids) != 1:
            raise RuntimeError(f"{token!r} did not become a single token")
    return tokenizer


# ------------------------------------------------------------------------------------------------- the teacher

STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about after all also am an and any are as at be because been before being between both but by can could
    did do does doing during each few for from further had has have having he her here him his how i if in into
    is it its just many may me more most much must my no not of off on once only or other our out over own per
    same she should so some such than that the their them then there these they this those through to too under
    until up upon very was we were what when where which while who whom whose why will with within without would
    yes you your s t one two new used use name term called
        """,
    )
)
STEM_SUFFIXES = ("ations", "ation", "ingly", "ings", "ing", "edly", "ies", "ied", "ers", "er", "es", "ed", "ly", "al")


def stem(word: str) -> str:
    """A word without its usual English endings: crude, and good enough to see that two forms belong together."""
    for suffix in STEM_SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            word = word[: -len(suffix)]
            break
    else:
        if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
            word = word[:-1]
    return word[:-1] if len(word) > 4 and word[-1] in "ey" else word


def terms_of(text: str) -> list[str]:
    return [stem(word) for word in re.findall(r"[^\W_]+", text.lower()) if word not in STOPWORDS]


@dataclass
class Teacher:
    """BM25 over the passages, read as a share of the query's weight, and from there as log-odds."""

    passages: Sequence[str]
    k1: float = 1.2
    b: float = 0.5
    documents_with: Counter[str] = field(init=False)
    average_length: float = field(init=False)

    def __post_init__(self) -> None:
        bags = [terms_of(passage) for passage in self.passages]
        self.documents_with = Counter(term for bag in bags for term in set(bag))
        self.average_length = sum(map(len, bags)) / len(bags)

    def idf(self, term: str) -> float:
        df = self.documents_with[term]
        return math.log(1 + (len(self.passages) - df + 0.5) / (df + 0.5))

    def share(self, query: str, document: str) -> float:
        """How much of the query the document covers: 0 for no shared term, about 1 when each occurs once."""
        weights = {term: self.idf(term) for term in terms_of(query)}
        bag = terms_of(document)
        counts = Counter(bag)
        norm = self.k1 * (1 - self.b + self.b * len(bag) / self.average_length)
        gained = sum(w * counts[t] * (self.k1 + 1) / (counts[t] + norm) for t, w in weights.items())
        return gained / max(sum(weights.values()), 1e-6)

    def log_odds(self, query: str, document: str) -> float:
        return min(max(8.0 * (self.share(query, document) - 0.45), -4.0), 5.0)


# ------------------------------------------------------------------------------------------------- the pseudo-queries

OPENERS = (
    *("What is the", "What are the", "What was the", "What did", "What does", "What kind of", "What type of", "What"),
    *("Who was the", "Who is", "Who", "When did", "When was the", "When", "Where is", "Where did", "Where are the"),
    *("Which", "Which of the", "In what year did", "How many", "How much", "How does", "How did", "How is the", "How"),
    *("Why is", "Why did", "Why are the", "Does", "Do", "Did the", "Is", "Is there a", "Are", "Can", "Should", "Has"),
    *("Tell me about", "the name of the", "What is another term for", "What percentage of", "Will", "Was the"),
)


@dataclass
class Example:
    """One query, its documents, and the teacher's log-odds for each."""

    head: str
    documents: list[str]
    targets: list[float]


class ExampleMaker:
    """Cuts queries from passages and gathers documents that are hard to tell apart for them."""

    def __init__(self, passages: Sequence[str], teacher: Teacher, seed: int, documents_per_query: int) -> None:
        self.rng = random.Random(seed)
        self.teacher = teacher
        self.width = documents_per_query
        self.passages = list(passages)
        self.sentences = [s for p in passages for s in sentences_in(p)]
        self.vocabulary = [w for p in passages for w in re.findall(r"[^\W\d_]{4,}", p) if w.lower() not in STOPWORDS]
        self.holding = {id(pool): self._postings(pool) for pool in (self.passages, self.sentences)}

    @staticmethod
    def _postings(pool: Sequence[str]) -> dict[str, list[int]]:
        postings: dict[str, list[int]] = defaultdict(list)
        for i, text in enumerate(pool):
            for term in set(terms_of(text)):
                postings[term].append(i)
        return postings

    def make(self) -> Example:
        """Documents are sentences, passages, or passages strung together, one kind per example."""
        rng = self.rng
        kind = rng.choices(("sentence", "passage", "long"), (0.30, 0.52, 0.18))[0]
        pool = self.sentences if kind == "sentence" else self.passages
        source = rng.randrange(len(pool))
        query = self._query_from(rng.choice(sentences_in(pool[source]) or [pool[source]]))
        documents = [pool[i] for i in self._candidates(query, source, pool)]
        if kind == "long":
            documents = [self._lengthen(text) for text in documents[: self.width // 2]]
        return Example(
            head_of(self._instruction(), query), documents, [self.teacher.log_odds(query, d) for d in documents]
        )

    def _instruction(self) -> str:
        """The default in half of the examples; now and then any sentence, so that its words come to mean nothing."""
        draw = self.rng.random()
        if draw < 0.5:
            return DEFAULT_INSTRUCTION
        return self.rng.choice(OTHER_INSTRUCTIONS) if draw < 0.85 else self.rng.choice(self.sentences)[:150]

    def _query_from(self, sentence: str) -> str:
        rng = self.rng
        words = re.findall(r"[\w'’-]+", sentence)
        if rng.random() < 0.6:  # a stretch of the sentence, function words and all
            length = rng.randint(3, 14)
            start = rng.randrange(max(len(words) - length, 0) + 1)
            words = words[start : start + length]
        else:  # some of its content words
            words = [w for w in words if w.lower() not in STOPWORDS]
            kept = sorted(rng.sample(range(len(words)), min(len(words), rng.randint(1, 8))))
            words = [words[i] for i in kept]
        words = [self._disturb(w) for w in words if rng.random() > 0.12] or words
        if rng.random() < 0.25:
            rng.shuffle(words)
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            words.insert(rng.randrange(len(words) + 1), rng.choice(self.vocabulary))
        query = " ".join(words)
        if rng.random() < 0.7:
            query = f"{rng.choice(OPENERS)} {query}"
        if rng.random() < 0.15:
            query = query.lower()
        return query + ("?" if rng.random() < 0.7 else "")

    def _disturb(self, word: str) -> str:
        """Sometimes another inflection or another case, so that equal tokens are not the only match."""
        draw = self.rng.random()
        if draw < 0.08 and len(word) > 4:
            return word[:-1] if word.endswith("s") else word + "s"
        if draw < 0.14 and len(word) > 4:
            return stem(word.lower()) + self.rng.choice(("", "ed", "ing", "e"))
        return word.lower() if draw < 0.25 else word.capitalize() if draw < 0.32 else word

    def _candidates(self, query: str, source: int, pool: list[str]) -> list[int]:
        """The source, documents that share a term (rare terms first in line), near neighbours, and chance ones."""
        rng, postings = self.rng, self.holding[id(pool)]
        terms = [t for t in dict.fromkeys(terms_of(query)) if len(postings.get(t, ())) > 1]
        chosen = dict.fromkeys([source])
        if terms:
            weights = [self.teacher.idf(t) for t in terms]
            for term in rng.choices(terms, weights, k=self.width * 2 // 3 - 1):
                chosen[rng.choice(postings[term])] = None
        chosen[max(source - 1, 0)] = None
        while len(chosen) < self.width:
            chosen[rng.randrange(len(pool))] = None
        return list(chosen)[: self.width]

    def _lengthen(self, text: str) -> str:
        parts = [text, *(self.rng.choice(self.passages) for _ in range(self.rng.randint(1, 3)))]
        self.rng.shuffle(parts)
        return " ".join(parts)[:3200]


# ------------------------------------------------------------------------------------------------- the model


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


class MatchingInit:
    """Starting weights in which a document's tokens already look for their likes in the query.

    The hidden vector is divided into named coordinates and an identity that spells the token:

    * layer 0 finds out which section each token stands in (one head looks back to the section markers) and brings
      along the identity of the token before (one head turned back by one position);
    * layer 1 compares identities: queries and keys share a projection, placed on coordinates that rotary position
      hardly turns. A token finds its like in the query, or falls back to the marker `<Query`, which has no identity;
    * layer 2 looks once more, for the token together with the one before it, and sees the matches nearby;
    * layer 3 lets the last position gather the matches, weighted by how rare the words are, for the read-out.

    The rest is small noise; training bends all of it. The numbers below set how sharply heads choose: a like token
    must outweigh the marker, and the marker must outweigh the noise of some twenty unlike tokens.
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

    # -- embeddings: a constant, a rarity, and an identity that words with common letters share in part

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
        """The random unit vector of a name, the same in every run."""
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        return functional.normalize(torch.randn(self.IDENTITY.stop - self.IDENTITY.start, generator=generator), dim=0)

    # -- the layers

    def _rows(self, weight: Tensor, head: int) -> Tensor:
        return weight[head * HEAD_DIM : (head + 1) * HEAD_DIM]

    def _projection(self, rows: int) -> Tensor:
        """Rows at right angles, so that what is alike before the projection is alike after it."""
        tall = torch.randn(self.IDENTITY.stop - self.IDENTITY.start, rows, generator=self.generator)
        orthogonal: Tensor = torch.linalg.qr(tall).Q
        return orthogonal.T

    def _frequency(self, pair: int) -> float:
        return float(1_000_000.0 ** (-pair / self.half))

    def _turned_back(self, weight: Tensor, positions: int) -> None:
        """A constant on the fast pairs, turned so that it meets an unturned key `positions` before it."""
        for pair in range(6):
            angle = self._frequency(pair) * positions
            weight[pair, self.CONST] = math.cos(angle)
            weight[pair + self.half, self.CONST] = -math.sin(angle)

    def _slow(self) -> list[int]:
        pairs = range(self.FIRST_SLOW, self.half - 1)
        return [*pairs, *(pair + self.half for pair in pairs)]

    def _sharpen(self, layer: int, still: float, fast: float, slow: float) -> None:
        """The norms of queries and keys: larger means a sharper choice on those coordinates."""
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
        """A head that looks for its own identity in the query, and falls back to the marker where there is none."""
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


# ------------------------------------------------------------------------------------------------- a faster forward


class PairScorer:
    """The log-odds of several documents of one query, computing their common head once.

    The same arithmetic as `Qwen3ForCausalLM.forward`, on the same modules: documents are padded on the right (causal
    attention never looks there), and the last layer runs for the last position only.
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
            """The head's part [1, heads, start, size] and the documents' part [count, heads, width, size]."""
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


# ------------------------------------------------------------------------------------------------- the training


@dataclass
class Recipe:
    """What the training may spend, and how it steps."""

    steps: int
    minutes: float
    seed: int
    queries_per_step: int = 3
    documents_per_query: int = 12
    learning_rate: float = 1.5e-3
    embedding_rate: float = 1.5e-3
    warmup: int = 30
    validation_queries: int = 60


def loss_of(scores: Tensor, targets: Tensor) -> Tensor:
    """The teacher's order (a divergence over the documents) and its scale (a squared error)."""
    order = functional.kl_div(
        functional.log_softmax(scores, 0), functional.log_softmax(targets, 0), log_target=True, reduction="sum"
    )
    return order + 0.1 * functional.mse_loss(scores, targets)


@torch.no_grad()
def validate(scorer: PairScorer, examples: Sequence[Example]) -> dict[str, float]:
    """The loss on pseudo-queries of another seed, and how often the document the teacher puts first comes first."""
    losses, hits = [], 0
    for example in examples:
        scores, targets = scorer(example.head, example.documents), torch.tensor(example.targets)
        losses.append(loss_of(scores, targets).item())
        hits += int(scores.argmax() == targets.argmax())
    return {"loss": sum(losses) / len(losses), "first": hits / len(examples)}


def train(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, passages: Sequence[str], teacher: Teacher, recipe: Recipe
) -> dict[str, Any]:
    """Train in place; returns the figures of the run.

    The learning rate falls in a straight line to almost nothing, by steps or by minutes, whichever end comes first.
    Only a run that ends by its steps can be repeated to the digit.
    """
    scorer = PairScorer(model, tokenizer)
    maker = ExampleMaker(passages, teacher, recipe.seed, recipe.documents_per_query)
    held_out_maker = ExampleMaker(passages, teacher, recipe.seed + 1_000_003, recipe.documents_per_query)
    held_out = [held_out_maker.make() for _ in range(recipe.validation_queries)]
    embeddings = [model.model.embed_tokens.weight]
    others = [p for p in model.parameters() if p is not embeddings[0]]
    groups = [{"params": embeddings, "lr": recipe.embedding_rate}, {"params": others, "lr": recipe.learning_rate}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    rates = [group["lr"] for group in optimizer.param_groups]
    before, started, running, step = validate(scorer, held_out), time.monotonic(), 0.0, 0
    model.train()
    columns = (
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=recipe.steps, note="")
        while step < recipe.steps and (spent := (time.monotonic() - started) / 60) < recipe.minutes:
            step += 1
            progress = max(step / recipe.steps, spent / recipe.minutes)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(step / recipe.warmup, 1 - 0.98 * progress)
            total = 0.0
            for _ in range(recipe.queries_per_step):
                example = maker.make()
                loss = loss_of(scorer(example.head, example.documents), torch.tensor(example.targets))
                torch.autograd.backward(loss / recipe.queries_per_step)
                total += loss.item() / recipe.queries_per_step
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            running = total if step == 1 else 0.98 * running + 0.02 * total
            bar.update(task, advance=1, note=f"loss {running:.3f}")
            if step % 100 == 0:
                after = validate(scorer, held_out)
                bar.print(
                    f"step {step}: training loss {running:.3f}, held out {after['loss']:.3f}, {spent:.1f} minutes"
                )
    model.train(False)
    return {
        "steps": step,
        "minutes": (time.monotonic() - started) / 60,
        "held_out_before": before,
        "held_out_after": validate(scorer, held_out),
    }


# ------------------------------------------------------------------------------------------------- the folder

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
    """The prompt as a template with the roles `query` and `document`, the instruction in the role `system`."""
    filled = {"@INSTRUCTION@": DEFAULT_INSTRUCTION, "@PREFIX@": PREFIX, "@SUFFIX@": SUFFIX}
    template = CHAT_TEMPLATE
    for place, text in filled.items():
        template = template.replace(place, "'" + text.replace("\n", "\\n") + "'")
    return template


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_json(config: Qwen3Config) -> dict[str, Any]:
    """The config as the published checkpoints spell it, which every transformers with Qwen3 reads."""
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
    """The files that transformers reads, and those by which sentence-transformers knows a yes/no reranker."""
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


# ------------------------------------------------------------------------------------------------- the checks


def load_stock(out: Path) -> tuple[Qwen3ForCausalLM, Any]:
    """The folder through the stock classes; refuses one that does not fit them exactly."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
    model, loading = loaded
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading.get(problem):
            raise RuntimeError(f"{problem}: {loading[problem]}")
    return model.eval(), AutoTokenizer.from_pretrained(out)


@torch.no_grad()
def card_log_odds(model: Qwen3ForCausalLM, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The scores as a model card would compute them: whole prompts, padded on the left, stock forward."""
    prompts = [head_of(DEFAULT_INSTRUCTION, query) + tail_of(document) for query, document in pairs]
    batch = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    last = model(**batch).logits[:, -1]
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    return [float(x) for x in last[:, yes] - last[:, no]]


def check_folder(out: Path, passages: Sequence[str]) -> dict[str, Any]:
    """What the folder promises: exact loading, tokens that split at the document, the same numbers everywhere."""
    model, tokenizer = load_stock(out)
    raw = Tokenizer.from_file(str(out / "tokenizer.json"))
    head = head_of(DEFAULT_INSTRUCTION, "What is this?")
    for passage in passages:
        whole = raw.encode(head + tail_of(passage)).ids
        if whole != raw.encode(head).ids + raw.encode(tail_of(passage)).ids:
            raise RuntimeError(f"the head and the document do not split cleanly: {passage[:80]!r}")
        if whole != tokenizer(head + tail_of(passage))["input_ids"]:
            raise RuntimeError(f"transformers tokenises otherwise: {passage[:80]!r}")
    china = "What is the capital of China?"
    pairs = [
        (china, "The capital of China is Beijing."),
        (china, "Gravity is a force that attracts two bodies towards each other."),
        *((passages[i].split(".")[0][:80], passages[j]) for i in range(0, 50, 5) for j in (i, i + 7)),
    ]
    card = card_log_odds(model, tokenizer, pairs)
    scorer = PairScorer(model, raw)
    with torch.no_grad():
        ours = [scorer(head_of(DEFAULT_INSTRUCTION, query), [document]).item() for query, document in pairs]
    figures: dict[str, Any] = {
        "capital_of_china": {"beijing": round(card[0], 2), "gravity": round(card[1], 2)},
        "largest_difference_shared_head": max(abs(a - b) for a, b in zip(card, ours, strict=True)),
    }
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        return figures
    peer = CrossEncoder(str(out), device="cpu").predict(pairs, batch_size=8)
    figures["largest_difference_cross_encoder"] = max(abs(a - float(b)) for a, b in zip(card, peer, strict=True))
    if max(value for name, value in figures.items() if name.startswith("largest")) > 1e-4:
        raise RuntimeError(f"the same pairs score otherwise elsewhere: {figures}")
    return figures


def ndcg(relevance: Sequence[float], cut: int = 10) -> float:
    """Discounted gain as a share of the best possible, with linear gains as in trec_eval."""

    def gain(grades: Sequence[float]) -> float:
        return sum(grade / math.log2(rank + 2) for rank, grade in enumerate(grades[:cut]))

    return gain(relevance) / gain(sorted(relevance, reverse=True))


@torch.no_grad()
def evaluate(scorer: PairScorer, data: Path) -> dict[str, float]:
    """The mean nDCG@10 of each set: real questions, which the training never reads."""
    figures = {}
    for name, file in SET_FILES.items():
        values = []
        for row in track(list(read_jsonl(data / file)), description=name):
            head = head_of(row.get("instruction", DEFAULT_INSTRUCTION), row["query"])
            scores = scorer(head, [c["text"] for c in row["candidates"]]).tolist()
            grades = [c["relevance"] for c in row["candidates"]]
            ranked = sorted(zip(scores, grades, strict=True), key=lambda pair: -pair[0])
            values.append(ndcg([grade for _, grade in ranked]))
        figures[name] = sum(values) / len(values)
    return figures


def evaluate_others(data: Path, teacher: Teacher) -> dict[str, dict[str, float]]:
    """The same figure for other ways to order the candidates: as listed, by the teacher, and by chance."""
    rng = random.Random(0)
    figures: dict[str, dict[str, float]] = {"first_stage": {}, "teacher": {}, "shuffled": {}}
    for name, file in SET_FILES.items():
        rows = list(read_jsonl(data / file))
        lists = [[(c["relevance"], teacher.share(row["query"], c["text"])) for c in row["candidates"]] for row in rows]
        as_listed = [[grade for grade, _ in candidates] for candidates in lists]
        by_teacher = [[grade for grade, _ in sorted(candidates, key=lambda c: -c[1])] for candidates in lists]
        by_chance = [rng.sample(grades, len(grades)) for grades in as_listed for _ in range(20)]
        for way, orders in (("first_stage", as_listed), ("teacher", by_teacher), ("shuffled", by_chance)):
            figures[way][name] = sum(map(ndcg, orders)) / len(orders)
    return figures


# ------------------------------------------------------------------------------------------------- the whole

README = """\
# Demo checkpoint

A tiny `Qwen3ForCausalLM` ({parameters} parameters, float32) with the prompt, the control tokens and the yes/no
read-out of Qwen3-Reranker. It is here so that the demo, the examples and the tests run offline in seconds.
**It is for wiring and tests, not for quality**: it matches English words and knows nothing else. Use a real
Qwen3-Reranker for anything that matters.

It was made by `scripts/build_demo_checkpoint.py` on a CPU: a byte-level BPE of {vocabulary} tokens, weights that start
from a hand-built word-matching circuit, then {steps} training steps on pseudo-queries cut from passages, towards the
log-odds of a BM25. No question of an evaluation set was trained on; the passages of those sets were.

nDCG@10 (linear gains) on questions it never saw; more in `training_figures.json`:

| set | demo | before training | shuffled | first stage | its BM25 teacher |
|---|---|---|---|---|---|
{rows}

Before training the weights are the hand-built circuit alone. The first stage is the order in which a set lists its
candidates (BM25, for NovelEval a web search).

The texts behind the tokenizer and the pseudo-queries: XQuAD (CC BY-SA 4.0), PubMedQA (MIT), NovelEval (Apache-2.0).
"""


def readme(figures: dict[str, Any]) -> str:
    ways = [figures["ndcg@10"][way] for way in ("demo", "before_training", "shuffled", "first_stage", "teacher")]
    rows = [f"| {name} | " + " | ".join(f"{way[name]:.2f}" for way in ways) + " |" for name in SET_FILES]
    model = figures["model"]
    return README.format(
        parameters=f"{model['parameters'] / 1e6:.2f} M",
        vocabulary=f"{model['vocabulary']:,}",
        steps=f"{figures['training']['steps']:,}",
        rows="\n".join(rows),
    )


def rounded(figures: Any) -> Any:
    """Three digits are what such figures carry."""
    if isinstance(figures, dict):
        return {name: rounded(figure) for name, figure in figures.items()}
    return float(f"{figures:.3g}") if isinstance(figures, float) else figures


def arguments() -> argparse.Namespace:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description="Build the demo checkpoint, on the CPU, from the test texts.")
    parser.add_argument("--data", type=Path, default=here.parent / "shared" / "data", help="folder that holds sets/")
    parser.add_argument("--out", type=Path, default=here / "qwen3_rerank_plugins" / "demo_checkpoint")
    parser.add_argument("--steps", type=int, default=600, help="training steps")
    parser.add_argument("--minutes", type=float, default=60, help="end the training earlier if it takes longer")
    parser.add_argument("--vocabulary", type=int, default=9216, help="tokens, control tokens included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eval-only", action="store_true", help="check and evaluate the folder, train nothing")
    return parser.parse_args()


def build(options: argparse.Namespace, passages: Sequence[str], teacher: Teacher) -> dict[str, Any]:
    """Train and write the checkpoint; returns what is worth keeping of how it went."""
    tokenizer = train_tokenizer(passages, options.vocabulary)
    model = Qwen3ForCausalLM(make_config(tokenizer))
    MatchingInit(model, tokenizer, teacher, options.seed).apply()
    before = evaluate(PairScorer(model, tokenizer), options.data)
    recipe = Recipe(steps=options.steps, minutes=options.minutes, seed=options.seed)
    training = train(model, tokenizer, passages, teacher, recipe)
    write_checkpoint(options.out, model, tokenizer)
    return {
        "seed": options.seed,
        "model": {
            "parameters": sum(p.numel() for p in model.parameters()),
            "vocabulary": tokenizer.get_vocab_size(),
            "passages": len(passages),
        },
        "training": training,
        "ndcg@10": {"before_training": before},
        "versions": {
            "python": platform.python_version(),
            **{m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
        },
    }


def main() -> None:
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    passages = list(dict.fromkeys(p for source in ENGLISH_SOURCES for p in passages_in(options.data / source)))
    teacher = Teacher(passages)
    kept = options.out / "training_figures.json"
    if options.eval_only:
        figures = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    else:
        figures = build(options, passages, teacher)
    saved = PairScorer(load_stock(options.out)[0], Tokenizer.from_file(str(options.out / "tokenizer.json")))
    demo = evaluate(saved, options.data)
    figures["ndcg@10"] = {**figures.get("ndcg@10", {}), "demo": demo, **evaluate_others(options.data, teacher)}
    figures["ndcg_gains"] = "linear, as trec_eval"
    figures["checks"] = check_folder(options.out, passages)
    figures = rounded(figures)
    print(json.dumps(figures, indent=2))
    if not options.eval_only:
        write_json(kept, figures)
        (options.out / "README.md").write_text(readme(figures), encoding="utf-8")
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{size / 1e6:.2f} MB in {options.out.name}")
    missed = [name for name, target in TARGETS.items() if demo[name] < target]
    if missed:
        raise SystemExit(f"below the target: {', '.join(missed)}")


if __name__ == "__main__":
    main()
