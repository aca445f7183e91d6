"""What a stranger's JSON says at a place, whatever is really there: a number, a text, a list, an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from django.utils.translation import gettext_noop as _

from monitoring.collectors.base import CollectError
from monitoring.collectors.counters import NAN
from portal.toolkit.http import Fetched
from portal.toolkit.printable import printable
from portal.toolkit.sentence import Part

Shape = Mapping[str, Any]


def read_object(answer: Fetched, what: Part) -> Shape:
    """The JSON object in `answer`; CollectError, which names `what` was asked, when there is none."""
    read = _read(answer, what)
    if not isinstance(read, dict):
        raise CollectError(_("%(what)s: the answer is not what was expected"), what=what)
    return read


def read_objects(answer: Fetched, what: Part) -> list[Shape]:
    """The objects of the JSON list in `answer`; CollectError when there is none."""
    read = _read(answer, what)
    if not isinstance(read, list):
        raise CollectError(_("%(what)s: the answer is not what was expected"), what=what)
    return [each for each in read if isinstance(each, dict)]


def _read(answer: Fetched, what: Part) -> Any:
    if answer.status != 200:
        raise CollectError(
            _("%(what)s: the answer has the status %(status)s%(words)s"),
            what=what,
            status=str(answer.status),
            words=_words(answer),
        )
    if answer.ending == "cut":
        raise CollectError(_("%(what)s: the answer was cut off"), what=what)
    try:
        return orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise CollectError(_("%(what)s: the answer is not JSON"), what=what) from error


def _words(answer: Fetched) -> str:
    """What the other side says of its refusal: the engine and the API server put it in `message`."""
    try:
        said = text(orjson.loads(answer.body), "message")
    except orjson.JSONDecodeError:
        said = ""
    return f": {printable(said, 160)}" if said else ""


def at(shape: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(shape, Mapping):
            return None
        shape = shape.get(key)
    return shape


def number(shape: Any, *path: str) -> float:
    """NaN when there is none."""
    found = at(shape, *path)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else NAN


def text(shape: Any, *path: str) -> str:
    found = at(shape, *path)
    return found if isinstance(found, str) else ""


def objects(shape: Any, *path: str) -> list[Shape]:
    found = at(shape, *path)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, Sequence) else []


def instant(shape: Any, *path: str) -> float:
    """Epoch seconds of an RFC 3339 instant; NaN when there is none."""
    try:
        found = datetime.fromisoformat(text(shape, *path))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() if found.year > 1970 else NAN
    except (ValueError, OverflowError):
        return NAN
