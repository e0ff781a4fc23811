"""Golden scores: whether a model still gives its published scores, or the scores that you recorded from it."""

from qwen3_rerank_plugins.verify.questions import Question
from qwen3_rerank_plugins.verify.recording import Recording, read_recording, write_recording
from qwen3_rerank_plugins.verify.verification import CaseVerdict, Recheck, check, record, verify

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
