"""The engine and its peers, measured side by side in one run. Needs the extra `bench`.

Studies, each one file and one function: `speed`, `savings`, `choices`, `profile`, `together`, `memory`, `quantization`,
`windows`. They share:

- `texts` and `workloads`: seeded real text, cut to length;
- `subject`: the model under test, given or made in place with random weights;
- `cost`: tokens and FLOPs counted, the machine's own GEMM rate measured;
- `stopwatch`: alternating runs, peak memory;
- `peers`: other ways to score the same pairs;
- `record`: what was measured, where and with which versions, as JSON.
"""

from __future__ import annotations
