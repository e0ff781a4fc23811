"""What a call should know about its scores -> one line in the log.

Each result carries its own receipt; `score` returns bare numbers, and this line is theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qwen3_rerank_plugins._plurals import agreeing, counted, share
from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.scorer import Scores


@dataclasses.dataclass(frozen=True, slots=True)
class ScoringReport:
    """What was not read, and what was computed twice.

    Attributes:
        documents: how many were scored.
        cut: how many of them lost their end.
        cut_tokens: how many tokens they lost.
        longest_cut: how many one of them lost at most.
        rescored: how many scores overflowed in 16 bits and are float32's.
    """

    documents: int = 0
    cut: int = 0
    cut_tokens: int = 0
    longest_cut: int = 0
    rescored: int = 0

    def __add__(self, other: ScoringReport) -> ScoringReport:
        return ScoringReport(
            self.documents + other.documents,
            self.cut + other.cut,
            self.cut_tokens + other.cut_tokens,
            max(self.longest_cut, other.longest_cut),
            self.rescored + other.rescored,
        )

    def describe(self) -> str:
        """In words, with what to do about it; empty if everything was read and computed once."""
        notes = []
        if self.cut:
            notes.append(
                f"{share(self.cut, self.documents, 'document', 'was')} cut to fit in max_length: "
                f"{counted(self.cut_tokens, 'token', 'was')} not read{self._up_to}. Raise max_length, or read all of "
                "them with long_documents='windows'."
            )
        if self.rescored:
            notes.append(
                f"{share(self.rescored, self.documents, 'score')} overflowed in 16 bits and "
                f"{agreeing(self.rescored, 'was')} computed again in float32."
            )
        return " ".join(notes)

    @property
    def _up_to(self) -> str:
        return f", up to {self.longest_cut:,} of one document" if self.cut > 1 else ""


def report_of(scores: Scores) -> ScoringReport:
    """The receipt of one request."""
    cuts = [tokens for tokens in scores.truncated_tokens if tokens]
    return ScoringReport(len(scores.log_odds), len(cuts), sum(cuts), max(cuts, default=0), len(scores.rescored))


def log_report(scores: Sequence[Scores]) -> None:
    """Log what there is to know about a call, if there is anything."""
    described = sum(map(report_of, scores), ScoringReport()).describe()
    if described:
        logger.warning(described)
