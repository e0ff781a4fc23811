"""The demo checkpoint behind the small server, tokenized as servers do it: the whole prompt as one text."""

from __future__ import annotations

import threading

import torch
from transformers import AutoTokenizer

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from tests.checkpoints import load_reference
from tests.references import INSTRUCTION, PREFIX, SUFFIX


class DemoServer:
    """Scores what it is sent.

    Args:
        template: whether it lays texts into the model's template; else it only joins them.
        strips: whether it takes white space from the ends of texts.
        heeds: whether it has a place for an instruction.
    """

    def __init__(self, *, template: bool, strips: bool = False, heeds: bool = True) -> None:
        self._template, self._strips, self._heeds = template, strips, heeds
        self._tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER)
        self._model = load_reference(DEMO_FOLDER)
        self._one_at_a_time = threading.Lock()

    def __call__(self, query: str, document: str, instruction: str | None) -> float:
        if self._strips:
            query, document = query.strip(), document.strip()
        prompt = query + document
        if self._template:
            asked = instruction if self._heeds and instruction else INSTRUCTION
            prompt = f"{PREFIX}<Instruct>: {asked}\n<Query>: {query}\n<Document>: {document}{SUFFIX}"
        return self.log_odds(prompt)

    @torch.inference_mode()
    def log_odds(self, prompt: str) -> float:
        yes, no = (self._tokenizer.convert_tokens_to_ids(answer) for answer in ("yes", "no"))
        with self._one_at_a_time:
            ids = self._tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
            logits = self._model(**ids, logits_to_keep=1).logits[0, -1]
        return float(logits[yes].double() - logits[no].double())
