"""Files of requests -> files of answers, on a Ray cluster, resumable. Needs the extra `ray`.

1. `source`: a file or folder -> partitions, which are the same whenever they are cut;
2. `jsonl` and `parquet`: the requests of a partition, and its answers in a file;
3. `folder`: the folder of answers, locked by one job at a time;
4. `manifest`: what a folder of answers is of, so that no other job adds to it;
5. `fingerprint` and `model_file`: the files of the model that was loaded, so that no other model adds to it;
6. `finished`: the digest of every file of answers, so that no other file is taken for one;
7. `partition_ranker`: one partition -> its file, whole or not at all; what an actor does;
8. `cluster`: Ray, started here or joined, and how many actors fit;
9. `job`: all of it: `rerank_files`.
"""

from __future__ import annotations

import qwen3_rerank_plugins.ray  # noqa: F401  whose door is this one's, too
from qwen3_rerank_plugins.batch.job import Summary, rerank_files

__all__ = ["Summary", "rerank_files"]
