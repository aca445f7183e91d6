"""A page of history as the API and the history page show it: columns, rows, and where it goes on."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from django.utils.translation import gettext as _

from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.paging import page
from monitoring.history.read import names_of
from monitoring.models import Metric
from monitoring.span import FIRST_MS, LAST_MS

MOST_SERIES = 100
MOST_ROWS = 1000
USUAL_ROWS = 100

Order = Literal["desc", "asc"]


class CursorError(ValueError):
    """That is no cursor; the message says so."""


class Cursor(NamedTuple):
    """Rows that are older, or newer, than an instant (epoch ms). What arrives later does not move it."""

    is_older: bool
    at_ms: int

    @classmethod
    def read(cls, text: str) -> Cursor:
        try:
            said = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode()
        except (UnicodeError, binascii.Error, ValueError):
            said = ""
        if not re.fullmatch(r"[on][0-9]{1,14}", said, re.ASCII):
            raise CursorError(_("That is no cursor: take “next” or “previous” of an answer."))
        return cls(said[0] == "o", int(said[1:]))

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{'o' if self.is_older else 'n'}{self.at_ms}".encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class HistoryAsked:
    """Rows with start_ms <= instant < end_ms of the named metrics (all when empty), from `cursor` on."""

    start_ms: int
    end_ms: int
    metrics: frozenset[str] = frozenset()
    order: Order = "desc"
    limit: int = USUAL_ROWS
    cursor: Cursor | None = None
    most_series: int = MOST_SERIES


@dataclass(frozen=True, slots=True)
class Column:
    """A series as a column."""

    name: SeriesName
    unit: str
    is_counter: bool

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = json.loads(self.name.labels) if self.name.labels else {}
        return labels


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """`values[i, j]` is the value of column i at `at_ms[j]`, NaN for none, in the asked order.

    `left_out` counts series beyond the limit. A cursor is None when there is no row on that side.
    """

    columns: list[Column]
    left_out: int
    at_ms: Ints
    values: Floats
    next: Cursor | None
    previous: Cursor | None


def history_page(server_id: int, asked: HistoryAsked, names: Sequence[SeriesName] | None = None) -> HistoryPage:
    """The page, of `names` where the caller knows the server's series. Two queries and those of `paging.page`."""
    had = names_of(server_id) if names is None else names
    wanted = [name for name in had if not asked.metrics or name.metric in asked.metrics]
    shown = wanted[: asked.most_series]
    start_ms, end_ms, cursor = max(asked.start_ms, FIRST_MS), min(asked.end_ms, LAST_MS), asked.cursor
    backwards = cursor.is_older if cursor else asked.order == "desc"
    if cursor and cursor.is_older:
        end_ms = min(end_ms, cursor.at_ms)
    elif cursor:
        start_ms = max(start_ms, cursor.at_ms + 1)
    found = page(server_id, shown, start_ms, end_ms, backwards=backwards, limit=asked.limit)
    older, newer = _around(found.at_ms, cursor, backwards=backwards, is_more=found.is_more)
    turned = slice(None, None, -1 if asked.order == "desc" else 1)
    return HistoryPage(
        columns=_columns(shown),
        left_out=len(wanted) - len(shown),
        at_ms=found.at_ms[turned],
        values=found.values[:, turned],
        next=older if asked.order == "desc" else newer,
        previous=newer if asked.order == "desc" else older,
    )


def _around(
    at_ms: Ints, cursor: Cursor | None, *, backwards: bool, is_more: bool
) -> tuple[Cursor | None, Cursor | None]:
    """What is older and what is newer than the page. On the side where its cursor came from there are rows."""
    if len(at_ms):
        oldest, newest = int(at_ms[0]), int(at_ms[-1])
    elif cursor:
        oldest, newest = (cursor.at_ms, cursor.at_ms - 1) if cursor.is_older else (cursor.at_ms + 1, cursor.at_ms)
    else:
        return None, None
    has_older, has_newer = (is_more, cursor is not None) if backwards else (cursor is not None, is_more)
    return Cursor(True, oldest) if has_older else None, Cursor(False, newest) if has_newer else None


def _columns(names: Sequence[SeriesName]) -> list[Column]:
    known = {
        name: (unit, is_counter)
        for name, unit, is_counter in Metric.objects.filter(name__in={name.metric for name in names}).values_list(
            "name", "unit", "is_counter"
        )
    }
    return [Column(name, *known.get(name.metric, ("", False))) for name in names]
