"""Reranking sets, which the command line ranks and the evaluation judges: one reader, one way to rank them.

1. `lines`: files -> lines that know where they stood;
2. `kinds`: the beginning of a file -> what kind of file it is;
3. `records`: a file of any kind -> its records;
4. `tasks`: records -> a query and its candidates;
5. `bundled`: the tasks that come with the package;
6. `ranker`: tasks -> ranked tasks, many on their way at once;
7. `results`: ranked documents -> the objects that programs read.
"""

from __future__ import annotations
