"""The live layer for programs: a topic's data as lines of JSON, the variant "json" beside the languages.

A line is `<event> <object>`. Of a topic that has many things under one key, the first line is `*<event> <address>` and
each thing is a line of its own after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.conf import settings
from django.utils import translation

from portal.toolkit.live.topic import Address, Data, Topic

JSON = "json"
"""Where HTML has its language."""


def lines_of(topic: Topic, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
    """By key the text, and a number that is equal while nothing changed that programs hear of at once.

    Sentences are in the portal's own language.
    """
    with translation.override(settings.LANGUAGE_CODE):
        data = topic.data(keys)
    return {key: _lines(topic, key, given) for key, given in data.items()}


def _lines(topic: Topic, key: str, given: Data) -> tuple[str, int]:
    if isinstance(given, Mapping):
        text = f"{topic.event} {json_of(given)}"
        prompt = given if topic.prompt is None else {name: given.get(name) for name in topic.prompt}
        return text, hash(json_of(prompt))
    text = "\n".join([f"*{topic.event} {Address(topic.name, key)}", *map(json_of, given)])
    return text, hash(text)


def json_of(given: Mapping[str, Any]) -> str:
    """On one line; NaN is null."""
    return orjson.dumps(given).decode()
