"""Check the engine on a GPU: kernels, dtypes, the 8B shape, independence of the batch, memory, several GPUs.

    python tools/gpu_check.py --out gpu-check.json                 # on the GPU, everything
    python tools/gpu_check.py --device cpu --out cpu-check.json    # the same code on a CPU, small shapes only

Prints one line per check, writes all figures as JSON, and exits with 1 if a check failed. Weights are random. Speed is
not measured here; `qwen3-rerank bench` measures it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from gpu_checks.large import check_large
from gpu_checks.scoring import LAYOUTS, SMALL, TINY, Check, random_model
from gpu_checks.small import check_independence, check_kernels, check_several

from qwen3_rerank_plugins._records import make_record, note_circumstances, write_record
from qwen3_rerank_plugins.engine.loading.placement import choose_device
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED

ON_A_CPU = [name for name in LAYOUTS if name != "a long document"]


def main() -> None:
    """Run all checks that the device allows."""
    parser = argparse.ArgumentParser(description="Check kernels, dtypes and memory on this device.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", default="8b", choices=["0.6b", "4b", "8b"], help="of the large model, on CUDA only")
    parser.add_argument("--out", type=Path, required=True, help="file for the record in JSON")
    options = parser.parse_args()
    device, _ = choose_device(options.device)
    on_cpu = device.type == "cpu"
    checks: list[Check] = []

    def note(*found: Check) -> None:
        checks.extend(found)
        for check in found:
            limit = "" if check.limit is None else f"  (limit {check.limit:g})"
            print(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.value:.4g}{limit}", flush=True)

    around = note_circumstances(f"random weights, small and {options.shape}", device, torch.bfloat16)
    dtypes = (torch.bfloat16, torch.float16) if device.type == "cuda" else (torch.float32, torch.bfloat16)
    for dtype in dtypes:
        with random_model(TINY if on_cpu else SMALL, device, dtype) as model:
            note(*check_kernels(model, dtype, ON_A_CPU if on_cpu else list(LAYOUTS)))
            note(*check_independence(model, dtype))
    if on_cpu or torch.cuda.device_count() > 1:
        for dtype in (torch.float32, torch.bfloat16):
            note(*check_several(device, dtype))
    if device.type == "cuda":
        for dtype in dtypes:
            with random_model(PUBLISHED[f"Qwen/Qwen3-Reranker-{options.shape.upper()}"], device, dtype) as model:
                note(*check_large(model, dtype))
    write_record(options.out, make_record("gpu-check", around, {"checks": checks}))
    sys.exit(0 if all(check.passed for check in checks) else 1)


if __name__ == "__main__":
    main()
