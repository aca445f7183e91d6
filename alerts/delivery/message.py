"""The mail about an incident, to one person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from ipaddress import IPv6Address
from urllib.parse import urlsplit

import css_inline
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import get_supported_language_variant

from alerts.delivery import chart
from alerts.delivery.chart import Chart, Wanted
from alerts.delivery.facts import Facts, facts, told_of
from alerts.delivery.smtp import envelope_address
from alerts.models import Condition, Delivery, DeliveryKind, Problem
from monitoring.queries import samples
from portal.toolkit.instants import zone_named

log = structlog.get_logger(__name__)

SHOWN = timedelta(hours=1)
SHOWN_AT_MOST = timedelta(hours=24)
BEFORE = timedelta(minutes=10)
POINTS = 720
HISTORY_TIMEOUT_MS = 2000
"""A history that is slow or locked costs the mail its picture, not its time."""


def build(delivery: Delivery, now: datetime) -> EmailMessage:
    """The mail of `delivery` as it is sent at `now`. Five queries with a picture."""
    return Letters([delivery], now).build(delivery)


@dataclass(frozen=True, slots=True)
class _Body:
    subject: str
    text: str
    html: str


class Letters:
    """The mails of some rows: what several have in common is read, drawn and rendered once.

    `incident` of the rows, its server, group and owner should be at hand. Two queries for all of them, three for each
    picture; the rows of one incident and kind share it, those of one language and time zone also share the text.
    """

    def __init__(self, rows: Sequence[Delivery], now: datetime) -> None:
        self._now = now
        self._problems = _problems_of(rows)
        self._first = _first_keys(rows)
        self._charts: dict[object, Chart | None] = {}
        self._bodies: dict[object, _Body] = {}

    def build(self, row: Delivery) -> EmailMessage:
        """Raises DeliveryError for what is no address."""
        problems = told_of(row, self._problems[row.incident_id])
        about = (row.incident_id, row.kind, row.level, row.created_at)
        if about not in self._charts:
            self._charts[about] = _chart_of(row, problems[0]) if problems else None
        picture = self._charts[about]
        key = (*about, row.language, row.time_zone)
        if key not in self._bodies:
            self._bodies[key] = self._body(row, problems, picture)
        return self._message(row, self._bodies[key], picture)

    def _body(self, row: Delivery, problems: Sequence[Problem], picture: Chart | None) -> _Body:
        language = language_of(row)
        with translation.override(language), timezone.override(zone_named(row.time_zone)):
            told = facts(row, problems, picture, language, self._now)
            return _Body(told.subject, _text(told), _html(told))

    def _message(self, row: Delivery, body: _Body, picture: Chart | None) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message.set_raw("Subject", folded(body.subject))
        message["From"] = settings.DEFAULT_FROM_EMAIL
        message["To"] = envelope_address(row.address)
        message["Date"] = format_datetime(self._now.astimezone(UTC))
        message["Message-ID"] = message_id(row.key)
        first = self._first.get((row.incident_id, _person(row.key)))
        if first is not None and first != row.key:
            message["In-Reply-To"] = message["References"] = message_id(first)
        message["Auto-Submitted"] = "auto-generated"
        message["X-OpenManager-Incident"] = str(row.incident_id)
        message["X-OpenManager-Level"] = row.level
        message.set_content(body.text, cte="base64" if not body.text.isascii() else "quoted-printable")
        message.add_alternative(body.html, subtype="html", cte="base64")
        if picture is not None:
            html = message.get_payload(1)
            assert isinstance(html, EmailMessage)
            html.add_related(picture.png, "image", "png", cid="<chart>", disposition="inline", filename="chart.png")
        return message


def folded(subject: str) -> str:
    """`subject` as it stands in a mail: as `EmailMessage` folds it, it may begin on its second line or lose a space."""
    is_plain = subject.isascii() and "=?" not in subject  # which would be read as an encoded word
    return Header(subject, "us-ascii" if is_plain else "utf-8", header_name="Subject").encode()


def message_id(key: str) -> str:
    """Stays the same however often it is sent; the portal's host makes it unique in the world."""
    return f"<{key}@{_host(settings.PORTAL_URL)}>"


@cache
def _host(url: str) -> str:
    host = urlsplit(url).hostname or "localhost"
    return f"[IPv6:{IPv6Address(host)}]" if ":" in host else host.encode("idna").decode()


def language_of(row: Delivery) -> str:
    try:
        return get_supported_language_variant(row.language)
    except LookupError:
        return str(settings.LANGUAGE_CODE)


# --- What is read -----------------------------------------------------------------------------------------------------


def _problems_of(rows: Sequence[Delivery]) -> dict[int, list[Problem]]:
    problems: dict[int, list[Problem]] = defaultdict(list)
    wanted = Problem.objects.filter(incident_id__in={row.incident_id for row in rows})
    for problem in wanted.select_related("threshold__group", "threshold__server"):
        problems[problem.incident_id].append(problem)
    return problems


def _first_keys(rows: Sequence[Delivery]) -> dict[tuple[int, str], str]:
    """(incident, person) → key of the mail that it broke, where later ones are to be threaded."""
    later = {row.incident_id for row in rows if row.kind != DeliveryKind.FIRED}
    if not later:
        return {}
    fired = Delivery.objects.filter(incident_id__in=later, kind=DeliveryKind.FIRED).order_by("-pk")
    return {(incident_id, _person(key)): key for incident_id, key in fired.values_list("incident_id", "key")}


def _person(key: str) -> str:
    return key.split("-")[1]


def _chart_of(row: Delivery, problem: Problem) -> Chart | None:
    """The hour before `row` was queued, of an incident that is over all of it. Without history, no picture."""
    if problem.server_id is None:
        return None
    end = max(row.created_at, problem.fired_at or row.created_at) + timedelta(seconds=1)
    start = end - SHOWN
    if row.kind == DeliveryKind.RECOVERED:
        start = max(min(start, problem.began_at - BEFORE), end - SHOWN_AT_MOST)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {HISTORY_TIMEOUT_MS:d}")
            tracks = samples.recent(problem.server_id, problem.metric, problem.labels, start, end, POINTS)
        return chart.draw(tracks, _wanted(row, problem, tracks, start, end))
    except Exception:  # whatever it is: better a mail without its picture than none
        log.exception("mail_without_picture", delivery=row.key)
        return None


def _wanted(row: Delivery, problem: Problem, tracks: samples.Tracks, start: datetime, end: datetime) -> Wanted:
    mark = (problem.fired_at, problem.value) if problem.fired_at and problem.value is not None else None
    if row.kind == DeliveryKind.RECOVERED:
        mark = chart.worst(tracks, problem.began_at, below=problem.condition == Condition.BELOW)
    return Wanted(start, end, problem.unit, row.level, problem.limit, problem.began_at, mark)


# --- What is written --------------------------------------------------------------------------------------------------


def _text(told: Facts) -> str:
    return render_to_string("alerts/mail/incident.txt", {"facts": told}).strip() + "\n"


def _html(told: Facts) -> str:
    return _inliner().inline(render_to_string("alerts/mail/incident.html", {"facts": told}))


@cache
def _inliner() -> css_inline.CSSInliner:
    return css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
