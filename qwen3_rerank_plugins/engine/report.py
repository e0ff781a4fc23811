"""Count what was truncated and rescored in a call, and log it.

`rank` returns these facts with each document, but `score` returns bare numbers, so it logs them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qwen3_rerank_plugins._plurals import agreeing, counted, share
from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.scorer import Scores


@dataclasses.dataclass(frozen=True, slots=True)
class ScoringReport:
    """What was not read, and what was scored twice. Reports of several requests can be added.

    Attributes:
        documents: documents scored.
        cut: documents that were truncated.
        cut_tokens: tokens cut from all of them.
        longest_cut: most tokens cut from one document.
        rescored: scores that overflowed in 16 bits and were computed again in float32.
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
        """Return the report in sentences, with remedies; empty if nothing was truncated or rescored."""
        notes = []
        if self.cut:
            most = f", up to {self.longest_cut:,} of one document" if self.cut > 1 else ""
            notes.append(
                f"{share(self.cut, self.documents, 'document', 'was')} cut to fit in max_length: "
                f"{counted(self.cut_tokens, 'token', 'was')} not read{most}. Raise max_length, or read whole documents "
                "with long_documents='windows'."
            )
        if self.rescored:
            notes.append(
                f"{share(self.rescored, self.documents, 'score')} overflowed in 16 bits and "
                f"{agreeing(self.rescored, 'was')} computed again in float32."
            )
        return " ".join(notes)


def report_of(scores: Scores) -> ScoringReport:
    """Return the report of one request."""
    cuts = [tokens for tokens in scores.truncated_tokens if tokens]
    return ScoringReport(len(scores.log_odds), len(cuts), sum(cuts), max(cuts, default=0), len(scores.rescored))


def log_report(scores: Sequence[Scores]) -> None:
    """Log a warning if any document of a call was truncated or rescored."""
    described = sum(map(report_of, scores), ScoringReport()).describe()
    if described:
        logger.warning(described)
