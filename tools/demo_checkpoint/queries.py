"""Pseudo-queries cut from passages, with documents that are hard to tell apart."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from demo_checkpoint.prompt import DEFAULT_INSTRUCTION, OTHER_INSTRUCTIONS, head_of
from demo_checkpoint.teacher import STOPWORDS, Teacher, stem, terms_of
from demo_checkpoint.texts import sentences_in

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
    """Cuts queries from passages and selects documents that are hard to tell apart for each."""

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
        """Make an example whose documents are sentences, passages, or joined passages."""
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
        """The default in half of the examples; sometimes any sentence, so that the model learns to ignore its words."""
        draw = self.rng.random()
        if draw < 0.5:
            return DEFAULT_INSTRUCTION
        return self.rng.choice(OTHER_INSTRUCTIONS) if draw < 0.85 else self.rng.choice(self.sentences)[:150]

    def _query_from(self, sentence: str) -> str:
        rng = self.rng
        words = re.findall(r"[\w'’-]+", sentence)
        if rng.random() < 0.6:  # a stretch of the sentence with its function words
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
        """Sometimes change the inflection or the case, so that equal tokens are not the only match."""
        draw = self.rng.random()
        if draw < 0.08 and len(word) > 4:
            return word[:-1] if word.endswith("s") else word + "s"
        if draw < 0.14 and len(word) > 4:
            return stem(word.lower()) + self.rng.choice(("", "ed", "ing", "e"))
        return word.lower() if draw < 0.25 else word.capitalize() if draw < 0.32 else word

    def _candidates(self, query: str, source: int, pool: list[str]) -> list[int]:
        """The source, documents that share a term (rather a rare one), a neighbor of the source, and random ones."""
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
