"""Reranking sets, which the command line ranks and the evaluation judges: one reader, one way to rank them.

1. `lines`: files -> lines that know where they stood;
2. `tasks`: lines -> a query and its candidates;
3. `bundled`: the tasks that come with the package;
4. `ranker`: tasks -> ranked tasks, many on their way at once;
5. `results`: ranked documents -> the objects that programs read.
"""

from __future__ import annotations
