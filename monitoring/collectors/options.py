"""What a person fills in for a source besides its interval: one declaration per collector, for its form and its run.

A collector that needs more than a URL says so in its own file:

    @dataclass(frozen=True, slots=True)
    class Options:
        method: str = option(_("Method"), default="GET", choices=("GET", "HEAD"))

    NEEDS = Needs(check_url=check_url, secret=True, options=Options)

and reads it back, typed, with `read_options(Options, source)` and `secret_of(source)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy, override
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import CollectError
from monitoring.models import Source
from portal.toolkit.secrets import SecretLostError, unseal
from portal.toolkit.sentence import Term

Words = str | Promise
Check = Callable[[Any], Any]
"""Raises ValidationError, in words for whoever typed it; what it returns is left aside."""

MAX_TEXT = 4000
MAX_LINE = 200


@dataclass(frozen=True, slots=True)
class Option:
    """How one option is asked for. The type (str, int or bool) is that of its default."""

    label: Words
    help: Words = ""
    choices: Sequence[str] = ()
    lines: bool = False
    least: int | None = None
    most: int | None = None
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Of a collector that needs nothing but its URL."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a collector is told: a URL that `check_url` accepts, a password or token if `secret`, and its options.

    It is read at most and at least once in so many seconds (`every_s`); with `jitter_s` not on a grid, but about an
    interval after it was read last.
    """

    url: Literal["needed", "optional", "none"] = "needed"
    check_url: Callable[[str], None] | None = None
    says: Words = ""
    secret: bool = False
    options: type = NoOptions
    every_s: tuple[int, int] = (5, 3600)
    jitter_s: int = 0

    def check(self, url: str) -> None:
        """Raise ValidationError, in words for whoever typed it, when a source of this kind cannot have this `url`."""
        if self.url == "needed" and not url:
            raise ValidationError(gettext_lazy("This kind of source needs a URL."), code="required")
        if self.url == "none" and url:
            raise ValidationError(gettext_lazy("This kind of source is read without a URL: leave it empty."))
        if url and self.check_url is not None:
            self.check_url(url)


T = TypeVar("T")


def option(label: Words, *, default: Any, check: Check | None = None, **more: Any) -> Any:
    """A field of a collector's options; `more` is as in `Option`."""
    return dataclasses.field(default=default, metadata={"option": Option(label, check=check, **more)})


@lru_cache(maxsize=64)
def needs_of(collector: str) -> Needs:
    """What the collector of that name declares; one that declares nothing has a URL and nothing else."""
    name = f"{__package__}.{collector}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return Needs()
    needs: Needs = getattr(module, "NEEDS", Needs())
    return needs


def form_fields(options: type) -> dict[str, forms.Field]:
    """A form field per option, in their order; none of them is required."""
    return {field.name: _form_field(field.metadata["option"], field.default) for field in dataclasses.fields(options)}


def _form_field(asked: Option, default: Any) -> forms.Field:
    said: dict[str, Any] = {"label": asked.label, "help_text": asked.help, "initial": default, "required": False}
    if isinstance(default, bool):
        return forms.BooleanField(**said)
    if isinstance(default, int):
        return forms.IntegerField(**said, min_value=asked.least, max_value=asked.most)
    if asked.choices:
        return forms.ChoiceField(**said, choices=[(each, each) for each in asked.choices])
    checks = [asked.check] if asked.check else []
    if asked.lines:
        area = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "vLargeTextField"})
        return forms.CharField(**said, max_length=MAX_TEXT, widget=area, validators=checks)
    line = forms.TextInput(attrs={"class": "vTextField"})
    return forms.CharField(**said, max_length=MAX_LINE, widget=line, validators=checks)


def read_options(options: type[T], source: Source) -> T:
    """The options of `source`, each checked once more; what is not stored has its default. Raises CollectError."""
    stored: Mapping[str, Any] = source.options or {}
    found: dict[str, Any] = {}
    for name, field in form_fields(options).items():
        if name not in stored:
            continue
        if type(stored[name]) is not type(field.initial):
            raise CollectError(_t("its option “%(option)s” cannot be read"), option=_term(field.label))
        try:
            found[name] = field.clean(stored[name])
        except ValidationError as error:
            raise CollectError(
                _t("its option “%(option)s”: %(error)s"), option=_term(field.label), error=_complaint(error)
            ) from error
    return options(**found)


def _term(words: Words | None) -> Term:
    with override(None):  # the message itself, untranslated
        return Term(words or "")


def _complaint(error: ValidationError) -> Term:
    """What is said of one wrong value; a message with a value in it stays English."""
    with override(None):
        return Term(" ".join(error.messages))


def secret_of(source: Source) -> str:
    """The password or token of `source`, "" when it has none. Raises CollectError."""
    try:
        return unseal(source.sealed_secret)
    except SecretLostError as error:
        raise CollectError(
            _t("its password was encrypted with a key that PORTAL_ENCRYPTION_KEYS names no more: type it again")
        ) from error
