"""Golden scores: what a model is known to answer, and whether it still does.

Comes in: a reranker. Goes out: verdicts, against published figures or against a recording of your own.
Must not know: torch, tables, exit codes.

From the ground up: `strict`, `questions`, `comparison`, `making`, `recording`, `cases`, `verification`.
"""

from qwen3_rerank_plugins.verify.questions import Question as Question
from qwen3_rerank_plugins.verify.recording import Recording as Recording
from qwen3_rerank_plugins.verify.recording import read_recording as read_recording
from qwen3_rerank_plugins.verify.recording import write_recording as write_recording
from qwen3_rerank_plugins.verify.verification import CaseVerdict as CaseVerdict
from qwen3_rerank_plugins.verify.verification import Recheck as Recheck
from qwen3_rerank_plugins.verify.verification import check as check
from qwen3_rerank_plugins.verify.verification import record as record
from qwen3_rerank_plugins.verify.verification import verify as verify

__all__ = [
    "CaseVerdict",
    "Question",
    "Recheck",
    "Recording",
    "check",
    "read_recording",
    "record",
    "verify",
    "write_recording",
]
