"""The programs of the fused kernels, in Triton's language. `triton_kernels` launches them.

Every program is bound by memory. It reads and writes each value once, in vectors of 8 or 16 bytes if rows are aligned.
Nothing is reduced across tokens. Offsets of rows are int64, because the product of a matrix and many tokens has more
than 2**31 values.

Names in capitals are compile-time constants. Triton evaluates annotations, so only these arguments have any.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def add_and_normalize(
    hidden,
    delta,
    weight,
    result,
    hidden_stride,
    delta_stride,
    epsilon,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program for each row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < SIZE
    states = tl.load(hidden + row * hidden_stride + columns, mask=inside, other=0.0).to(tl.float32)
    if delta is not None:
        states += tl.load(delta + row * delta_stride + columns, mask=inside, other=0.0).to(tl.float32)
        tl.store(hidden + row * hidden_stride + columns, states, mask=inside)
    scale = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    states *= tl.rsqrt(tl.sum(states * states, axis=0) / SIZE + epsilon)
    tl.store(result + row * SIZE + columns, (states * scale).to(result.dtype.element_ty), mask=inside)


@triton.jit
def _load_halves(
    heads,
    row,
    stride,
    HEADS: tl.constexpr,
    HEADS_BLOCK: tl.constexpr,
    SIZE: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
):
    """Return where the first halves of a token's heads are, which of those exist, and both halves in float32."""
    head = tl.arange(0, HEADS_BLOCK)[:, None]
    column = tl.arange(0, HALF_BLOCK)[None, :]
    inside = (head < HEADS) & (column < SIZE // 2)
    low = heads + row * stride + head * SIZE + column
    first = tl.load(low, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(low + SIZE // 2, mask=inside, other=0.0).to(tl.float32)
    return low, inside, first, second


@triton.jit
def _load_vector(vector, SIZE: tl.constexpr, HALF_BLOCK: tl.constexpr):
    """Return both halves of a vector [SIZE] in float32, for all heads: [1, HALF_BLOCK] each."""
    column = tl.arange(0, HALF_BLOCK)[None, :]
    inside = column < SIZE // 2
    first = tl.load(vector + column, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(vector + SIZE // 2 + column, mask=inside, other=0.0).to(tl.float32)
    return first, second


@triton.jit
def _store_rotated(
    low,
    inside,
    first,
    second,
    weight,
    epsilon,
    cos_first,
    cos_second,
    sin_first,
    sin_second,
    SIZE: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
):
    """Normalize heads, rotate them and write them back."""
    squares = tl.sum(first * first + second * second, axis=1)
    inverse = tl.rsqrt(squares / SIZE + epsilon)[:, None]
    weight_first, weight_second = _load_vector(weight, SIZE, HALF_BLOCK)
    first *= inverse * weight_first
    second *= inverse * weight_second
    kind = low.dtype.element_ty
    tl.store(low, (first * cos_first - second * sin_first).to(kind), mask=inside)
    tl.store(low + SIZE // 2, (second * cos_second + first * sin_second).to(kind), mask=inside)


@triton.jit
def normalize_and_rotate(
    query,
    key,
    query_weight,
    key_weight,
    cos,
    sin,
    query_stride,
    key_stride,
    cos_stride,
    sin_stride,
    epsilon,
    QUERY_HEADS: tl.constexpr,
    QUERY_BLOCK: tl.constexpr,
    KEY_HEADS: tl.constexpr,
    KEY_BLOCK: tl.constexpr,
    SIZE: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
):
    """One program for each token, whose heads share the rotation. Everything is loaded before anything is stored."""
    row = tl.program_id(0).to(tl.int64)
    if query is not None:
        q_low, q_inside, q_first, q_second = _load_halves(
            query, row, query_stride, QUERY_HEADS, QUERY_BLOCK, SIZE, HALF_BLOCK
        )
    if key is not None:
        k_low, k_inside, k_first, k_second = _load_halves(key, row, key_stride, KEY_HEADS, KEY_BLOCK, SIZE, HALF_BLOCK)
    cos_first, cos_second = _load_vector(cos + row * cos_stride, SIZE, HALF_BLOCK)
    sin_first, sin_second = _load_vector(sin + row * sin_stride, SIZE, HALF_BLOCK)
    if query is not None:
        _store_rotated(
            q_low,
            q_inside,
            q_first,
            q_second,
            query_weight,
            epsilon,
            cos_first,
            cos_second,
            sin_first,
            sin_second,
            SIZE,
            HALF_BLOCK,
        )
    if key is not None:
        _store_rotated(
            k_low,
            k_inside,
            k_first,
            k_second,
            key_weight,
            epsilon,
            cos_first,
            cos_second,
            sin_first,
            sin_second,
            SIZE,
            HALF_BLOCK,
        )


@triton.jit
def gate(gate, up, gate_stride, up_stride, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """One program for a block of the columns of a row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < SIZE
    gates = tl.load(gate + row * gate_stride + columns, mask=inside, other=0.0).to(tl.float32)
    ups = tl.load(up + row * up_stride + columns, mask=inside, other=0.0).to(tl.float32)
    decay = tl.exp(-tl.abs(gates))  # never overflows
    products = gates * tl.where(gates < 0, decay, 1.0) / (1 + decay) * ups
    tl.store(gate + row * gate_stride + columns, products.to(gate.dtype.element_ty), mask=inside)


@triton.jit
def gather(
    key,
    value,
    rows,
    key_result,
    value_result,
    key_stride,
    value_stride,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program for the keys and values of one row of the result."""
    program = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + program).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < SIZE
    keys = tl.load(key + row * key_stride + columns, mask=inside)
    values = tl.load(value + row * value_stride + columns, mask=inside)
    tl.store(key_result + program * SIZE + columns, keys, mask=inside)
    tl.store(value_result + program * SIZE + columns, values, mask=inside)
