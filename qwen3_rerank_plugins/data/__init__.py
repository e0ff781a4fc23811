"""Reranking sets: readers for all file formats, ranking tasks, the bundled corpus and the JSON form of results."""

from __future__ import annotations
