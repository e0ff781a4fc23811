"""The Triton programs compile for GPUs, which needs none: the interpreter accepts more than the compiler does."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

from tests.optional import need

pytestmark = pytest.mark.slow

if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    pytest.skip("the development environment has Triton on Linux with x86-64 only", allow_module_level=True)
need("triton")

COMPILE = """
import json, re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from qwen3_rerank_plugins.engine.kernels import triton_programs

name, capability, kinds, constants, warps = json.loads(sys.argv[1])
program = getattr(triton_programs, name)
names = program.arg_names
kinds = dict(zip(names, [*kinds, *["constexpr"] * (len(names) - len(kinds))]))
kinds |= {name: "constexpr" for name in constants}
aligned = {(names.index(name),): [["tt.divisibility", 16]] for name, kind in kinds.items() if kind[0] in "*i"}
constants = {(names.index(name),): value for name, value in constants.items()}
source = ASTSource(program, kinds, constants, aligned)
compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
print(json.dumps(re.findall(r"(?:ld|st)\\.global\\S+", compiled.asm["ptx"])))
"""
HEADS = {"QUERY_HEADS": 32, "QUERY_BLOCK": 32, "KEY_HEADS": 8, "KEY_BLOCK": 8, "SIZE": 128, "HALF_BLOCK": 64}
LAYER: dict[str, tuple[str, list[str], dict[str, Any], int]] = {
    "residual": ("add_and_normalize", ["*fp32", "H", "H", "H", "i32", "i32", "fp32"], {"SIZE": 4096, "BLOCK": 4096}, 8),
    "first norm": (
        "add_and_normalize",
        ["*fp32", "H", "H", "H", "i32", "i32", "fp32"],
        {"delta": None, "delta_stride": 0, "SIZE": 2560, "BLOCK": 4096},
        8,
    ),
    "rotation": ("normalize_and_rotate", [*["H"] * 6, *["i32"] * 4, "fp32"], HEADS, 4),
    "rotation of keys": (
        "normalize_and_rotate",
        [*["H"] * 6, *["i32"] * 4, "fp32"],
        {**HEADS, "query": None, "query_stride": 0, "QUERY_HEADS": 0, "QUERY_BLOCK": 0},
        4,
    ),
    "gate": ("gate", ["H", "H", "i32", "i32"], {"SIZE": 12288, "BLOCK": 2048}, 4),
    "gather": ("gather", ["H", "H", "*i32", "H", "H", "i32", "i32"], {"SIZE": 1024, "BLOCK": 1024}, 4),
}
"""What the layers of the 8B and of the 4B launch: the program, its arguments, its constants and its warps."""


@pytest.mark.parametrize(("capability", "half"), [(75, "*fp16"), (80, "*bf16"), (90, "*bf16")])
@pytest.mark.parametrize("name", LAYER)
def test_a_program_compiles_and_moves_vectors(name: str, capability: int, half: str, tmp_path: Any) -> None:
    program, kinds, constants, warps = LAYER[name]
    kinds = [half if kind == "H" else kind for kind in kinds]
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    given = json.dumps([program, capability, kinds, constants, warps])
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, given], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    moves = json.loads(done.stdout)
    stores = [move for move in moves if move.startswith("st")]
    assert stores
    assert all(".v2.b32" in move or ".v4.b32" in move for move in stores)
    assert not any(move.endswith(".b16") for move in moves)
