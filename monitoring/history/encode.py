"""From frames to bytes: frames of one shape become one matrix, and a matrix becomes rows in one step.

A `Rows` is what both PostgreSQL (binary COPY) and the hot layer are fed with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.history.frame import Floats, Frame, Layout
from monitoring.history.series import BlockPlan, Plan

Ints = NDArray[np.int64]

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
COPY_TRAILER = b"\xff\xff"
EPOCH_2000_MS = 946_684_800_000


@dataclass(frozen=True, slots=True)
class Matrix:
    """Frames that share a layout and a plan: `values[i, j]` is the number of `layout[j]` in frame i, NaN where none."""

    server_ids: Ints
    at_ms: Ints
    layout: Layout
    plan: Plan
    values: Floats


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one block with the same slots present: `values[i]` are their numbers in slot order."""

    server_ids: Ints
    at_ms: Ints
    block: int
    present: int
    values: Floats


def matrices(frames: Sequence[Frame], plans: Mapping[tuple[int, Layout], Plan]) -> Iterator[Matrix]:
    groups: dict[tuple[int, int], list[Frame]] = defaultdict(list)
    chosen: dict[tuple[int, int], tuple[Layout, Plan]] = {}
    for frame in frames:
        plan = plans[frame.server_id, frame.layout]
        key = (id(plan), hash(frame.layout))
        chosen[key] = (frame.layout, plan)
        groups[key].append(frame)
    for key, group in groups.items():
        layout, plan = chosen[key]
        yield Matrix(
            np.fromiter((frame.server_id for frame in group), np.int64, len(group)),
            np.fromiter((frame.at_ms for frame in group), np.int64, len(group)),
            layout,
            plan,
            np.stack([frame.values for frame in group]),
        )


def rows_of(matrix: Matrix) -> Iterator[Rows]:
    """The rows to keep: one per block, and one more per pattern of gaps. A frame of gaps alone gives none."""
    for block in matrix.plan:
        values = matrix.values[:, block.columns]
        there = ~np.isnan(values)
        if there.all():
            yield Rows(matrix.server_ids, matrix.at_ms, block.block, _present(block, there[0]), values)
        else:
            yield from _rows_with_gaps(matrix, block, values, there)


def _rows_with_gaps(matrix: Matrix, block: BlockPlan, values: Floats, there: NDArray[np.bool_]) -> Iterator[Rows]:
    patterns, which = np.unique(there, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            chosen = np.flatnonzero(which.reshape(-1) == number)
            yield Rows(
                matrix.server_ids[chosen],
                matrix.at_ms[chosen],
                block.block,
                _present(block, pattern),
                values[np.ix_(chosen, np.flatnonzero(pattern))],
            )


def _present(block: BlockPlan, there: NDArray[np.bool_]) -> int:
    return pattern_of(block.slots[there].tolist())


def pattern_of(slots: Iterable[int]) -> int:
    """The bit pattern of the slots that have a value, as PostgreSQL's signed bigint."""
    pattern = sum(1 << slot for slot in slots)
    return pattern - (1 << 64) if pattern >= 1 << 63 else pattern


def slots_of(present: int) -> list[int]:
    """The slots named by a signed bit pattern, ascending: the order of a row's values."""
    pattern = present & 0xFFFF_FFFF_FFFF_FFFF
    return [slot for slot in range(64) if pattern >> slot & 1]


def ints_of(packed: bytes) -> Ints:
    """What PostgreSQL's int8send wrote, one after the other."""
    return np.frombuffer(packed, ">i8").astype(np.int64)


def instants_of(packed: bytes) -> Ints:
    """What PostgreSQL's timestamptz_send wrote, one after the other, in epoch ms."""
    return ints_of(packed) // 1000 + EPOCH_2000_MS


def copy_body(all_rows: Iterable[Rows], batch_id: int) -> Iterator[bytes]:
    """The binary COPY stream of (server_id, block, at, present, batch_id, vals)."""
    yield COPY_HEADER
    for rows in all_rows:
        yield _copy_rows(rows, batch_id)
    yield COPY_TRAILER


def _copy_rows(rows: Rows, batch_id: int) -> bytes:
    count, width = rows.values.shape
    out = np.zeros(
        count,
        dtype=[
            ("fields", ">i2"),
            ("server_len", ">i4"), ("server", ">i8"),
            ("block_len", ">i4"), ("block", ">i4"),
            ("at_len", ">i4"), ("at", ">i8"),
            ("present_len", ">i4"), ("present", ">i8"),
            ("batch_len", ">i4"), ("batch", ">i8"),
            ("vals_len", ">i4"), ("vals", "<f8", (width,)),
        ],
    )  # fmt: skip
    out["fields"] = 6
    out["server_len"] = out["at_len"] = out["present_len"] = out["batch_len"] = 8
    out["block_len"] = 4
    out["vals_len"] = 8 * width
    out["server"] = rows.server_ids
    out["block"] = rows.block
    out["at"] = (rows.at_ms - EPOCH_2000_MS) * 1000
    out["present"] = rows.present
    out["batch"] = batch_id
    out["vals"] = rows.values
    return out.tobytes()
