"""Bodies in JSON as senders of log lines write them: with what was in the lines."""

from __future__ import annotations

import json
from typing import Any

import orjson

from monitoring.ingest.points import BadBodyError

DEEP = "the body is nested too deeply"


def parse(body: bytes) -> Any:
    """Bytes that are no UTF-8, raw control characters and halves of surrogate pairs are no reason to lose the lines
    beside them: what is no text is replaced. Raises BadBodyError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            return _put_right(json.loads(body.decode("utf-8", "replace"), strict=False))
        except RecursionError:
            raise BadBodyError(DEEP) from None
        except ValueError:
            raise BadBodyError(f"the body is not JSON: {error}") from None


def _put_right(said: Any) -> Any:
    """Without surrogates."""
    if isinstance(said, str):
        return said if said.isascii() else said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(said, list):
        return [_put_right(each) for each in said]
    if isinstance(said, dict):
        return {_put_right(name): _put_right(each) for name, each in said.items()}
    return said
