"""What a mail says, and that nothing hostile gets into it."""

from __future__ import annotations

import struct
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.utils import timezone, translation
from django.utils.html import escape
from hypothesis import HealthCheck, example, given, settings, strategies

from alerts.delivery.chart import HEIGHT, WIDTH
from alerts.delivery.facts import clean, shortened
from alerts.delivery.message import Letters, build
from alerts.incidents.words import limit_changed
from alerts.models import (
    Condition,
    Delivery,
    DeliveryKind,
    Incident,
    IncidentStatus,
    Level,
    ProblemStatus,
    Scope,
    Threshold,
)
from monitoring.models import Metric
from portal.toolkit.instants import iso
from portal.toolkit.sentence import sentence
from tests.alerts.delivery.letters import NOW, a_server, an_hour_of_samples, delivery, incident, problem
from tests.cast import person


def sent(row: Delivery) -> EmailMessage:
    """As it arrives: written to bytes, and read by somebody who knows nothing of us."""
    return message_from_bytes(build(row, NOW).as_bytes(), policy=policy.default)


def plain(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def html(message: EmailMessage) -> str:
    body = message.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def png(message: EmailMessage) -> bytes | None:
    pictures = [part for part in message.walk() if part.get_content_type() == "image/png"]
    return bytes(pictures[0].get_content()) if pictures else None


def words(markup: str) -> str:
    """What a reader sees of it, on one line."""
    parser = _Words()
    parser.feed(markup)
    return " ".join(" ".join(parser.said).split())


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.tags: list[str] = []
        self._quiet = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._quiet += tag in ("style", "title")

    def handle_endtag(self, tag: str) -> None:
        self._quiet -= tag in ("style", "title")

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.said.append(data)


@pytest.fixture
def fired(db: None) -> Incident:
    """web-1 with CPU at 97.2 %, limit 85 %, since a minute."""
    of = incident(began_at=NOW - timedelta(minutes=1))
    problem(of)
    return of


# --- Subjects ---------------------------------------------------------------------------------------------------------


def test_the_subject_says_what_where_and_how_much(fired: Incident) -> None:
    assert sent(delivery(fired, person("ann")))["Subject"] == "Critical: web-1 CPU 97.2% (limit 85%)"


def test_the_subject_names_the_worst_of_several(fired: Incident) -> None:
    problem(fired, "memory", level=Level.WARNING, value=91.0, limit=90.0)
    problem(fired, "disk", level=Level.WARNING, value=91.0, limit=90.0)
    assert sent(delivery(fired, person("ann")))["Subject"] == "Critical: web-1 CPU 97.2% (limit 85%) and 2 more"


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (DeliveryKind.RAISED, "Now Critical: web-1 CPU 97.2% (limit 85%)"),
        (DeliveryKind.REMINDER, "Still Critical: web-1 CPU 97.2% (limit 85%)"),
    ],
)
def test_later_mails_say_what_is_new(fired: Incident, kind: DeliveryKind, subject: str) -> None:
    assert sent(delivery(fired, person("ann"), kind))["Subject"] == subject


def test_a_recovery_says_how_long_it_took(fired: Incident) -> None:
    row = delivery(recovered(fired), person("ann"), DeliveryKind.RECOVERED)
    assert sent(row)["Subject"] == "Recovered: web-1 CPU after 3 min 20 s"


def test_what_is_no_longer_watched_is_not_said_to_have_recovered(fired: Incident) -> None:
    row = delivery(recovered(fired, because="This threshold was removed."), person("ann"), DeliveryKind.RECOVERED)
    message = sent(row)
    assert message["Subject"] == "No longer watched: web-1 CPU after 3 min 20 s"
    assert "This threshold was removed." in plain(message)


def test_what_a_new_limit_ended_has_recovered_and_says_why(fired: Incident) -> None:
    gone = recovered(fired)
    over = gone.problems.get()
    over.ended_because = limit_changed(over, 99.0, 97.2)
    over.save(update_fields=["ended_because"])
    message = sent(delivery(gone, person("ann"), DeliveryKind.RECOVERED))
    assert message["Subject"] == "Recovered: web-1 CPU after 3 min 20 s"
    assert "Its limit was changed to 99.0%; the value of 97.2% does not break it." in plain(message)


def test_silence_has_no_value(db: None) -> None:
    of = incident(level=Level.WARNING, peak_level=Level.WARNING)
    problem(of, condition=Condition.NO_DATA, value=None, limit=None, peak=None, last_value=None)
    message = sent(delivery(of, person("ann")))
    assert message["Subject"] == "Warning: web-1 CPU: no data"
    assert "Value" not in plain(message)


def test_a_simulated_server_is_called_so(fired: Incident) -> None:
    fired.simulated = True
    fired.save(update_fields=["simulated"])
    message = sent(delivery(fired, person("ann")))
    assert message["Subject"] == "Critical: web-1 (simulated) CPU 97.2% (limit 85%)"
    assert "This is a simulated server: its numbers are generated." in plain(message)


def recovered(of: Incident, because: str = "") -> Incident:
    over = of.began_at + timedelta(seconds=200)
    of.problems.update(
        status=ProblemStatus.RESOLVED, resolved_at=over, peak=99.1, last_value=42.0, ended_because=because
    )
    of.status, of.resolved_at = IncidentStatus.RESOLVED, over
    of.save(update_fields=["status", "resolved_at"])
    return of


# --- Headers ----------------------------------------------------------------------------------------------------------


def test_the_headers_are_those_of_a_machine_that_can_be_filtered(fired: Incident, settings: Any) -> None:
    settings.DEFAULT_FROM_EMAIL = "OpenManager <robot@example.org>"
    settings.PORTAL_URL = "https://portal.example.org"
    row = delivery(fired, person("ann"))
    message = sent(row)
    assert message["From"] == "OpenManager <robot@example.org>"
    assert message["To"] == "ann@example.org"
    assert message["Message-ID"] == f"<{row.key}@portal.example.org>"
    assert message["Date"].datetime == NOW
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-OpenManager-Incident"] == str(fired.pk)
    assert message["X-OpenManager-Level"] == "critical"
    assert message["References"] is None


def test_later_mails_are_threaded_under_that_persons_first(fired: Incident) -> None:
    ann, bob = person("ann"), person("bob")
    first, _other = delivery(fired, ann), delivery(fired, bob)
    row = delivery(fired, ann, DeliveryKind.RECOVERED)
    ann.delete()
    message = sent(Delivery.objects.get(pk=row.pk))
    assert message["In-Reply-To"] == message["References"] == f"<{first.key}@127.0.0.1>"


@pytest.mark.parametrize("url", ["http://[::1]:8000", "https://포털.example", "http://10.0.0.1"])
def test_the_message_id_is_ascii_whatever_the_host(fired: Incident, settings: Any, url: str) -> None:
    settings.PORTAL_URL = url
    raw = build(delivery(fired, person("ann")), NOW).as_bytes()
    (line,) = [line for line in raw.split(b"\r\n") if line.startswith(b"Message-ID:")]
    assert line.isascii()
    assert line.endswith(b">")


HOSTILE = [
    "web\r\nBcc: eve@example.org",
    "a\u202egnp.exe",
    "a\u2066b\u2069",
    "nul\0l",
    "x" * 1000,
    "\x1b[31mred",
    "\u2028y",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_stays_on_one_line_of_bounded_length(fired: Incident, name: str) -> None:
    row = delivery(fired, person("ann"))
    row.incident.server_name = name
    message = sent(row)
    subject = str(message["Subject"])
    assert subject.isprintable()
    assert len(subject) < 200
    assert message["Bcc"] is None
    assert all(len(line) <= 78 for line in head_of(row))
    assert "\u202e" not in plain(message) + html(message)


def head_of(row: Delivery) -> list[bytes]:
    return build(row, NOW).as_bytes().split(b"\r\n\r\n")[0].split(b"\r\n")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=strategies.text(min_size=1, max_size=200))
@example("0" * 38)  # one letter more than a line holds
@example("0𐀀𐀀𐀀𐀀𐀀𐀀𐀀𐀀 ¡ ¡")  # a space where an encoded word ends
@example("=?utf-8?q?=0D=0A?=")
def test_any_name_makes_a_mail_that_says_what_its_subject_was(fired: Incident, name: str) -> None:
    row = Delivery(incident=fired, kind="fired", level="critical", key="1-2-fired-critical", address="ann@example.org")
    row.created_at = NOW
    row.incident.server_name = name
    built = build(row, NOW)
    read = message_from_bytes(built.as_bytes(), policy=policy.default)
    assert read["Subject"] == clean(f"Critical: {shortened(clean(name))} CPU 97.2% (limit 85%)")
    assert len(built.as_bytes().splitlines()[0]) > len("Subject: ")
    assert [key for key, _value in read.items()] == [key for key, _value in built.items()]
    assert read.defects == []


# --- Bodies -----------------------------------------------------------------------------------------------------------


def test_plain_text_and_html_say_the_same_facts(fired: Incident) -> None:
    fired.acknowledged_by = person("owner", first_name="Olga", last_name="Kim")
    fired.save(update_fields=["acknowledged_by"])
    message = sent(delivery(fired, person("ann"), time_zone="Asia/Seoul"))
    text, seen = plain(message), words(html(message))
    for label, value in {
        "Server": "web-1",
        "Group": "Web shop",
        "Metric": "CPU",
        "Value": "97.2%",
        "Limit": "above 85%",
        "Since": "2026-03-02 20:59:00 KST (Asia/Seoul)",
        "Rule": "CPU: Critical above 85% · All servers",
        "Owner": "Olga Kim",
    }.items():
        assert f"\n{label}: {value}\n" in text
        assert f"{label} {value}" in seen


def test_both_link_to_the_incident_and_the_server(fired: Incident, settings: Any) -> None:
    settings.PORTAL_URL = "https://portal.example.org"
    message = sent(delivery(fired, person("ann")))
    for url in (f"/alerts/{fired.pk}/", f"/servers/{fired.server_id}/"):
        assert f": https://portal.example.org{url}\n" in plain(message)
        assert f'href="https://portal.example.org{url}"' in html(message)


def test_both_link_to_the_lines_of_the_server_around_that_time(fired: Incident, settings: Any) -> None:
    settings.PORTAL_URL = "https://portal.example.org"
    row = delivery(fired, person("ann"))
    start = quote(iso(fired.began_at - timedelta(minutes=10)))
    end = quote(iso(row.created_at + timedelta(minutes=5)))
    message = sent(row)
    url = f"https://portal.example.org/logs/?server={fired.server_id}&from={start}&to={end}"
    assert f": {url}\n" in plain(message)
    assert f'href="{escape(url)}"' in html(message)


def test_markup_in_a_name_is_text(fired: Incident) -> None:
    row = delivery(fired, person("ann"))
    row.incident.server_name = "<img src=x onerror=alert(1)>&amp;"
    markup = html(sent(row))
    assert "<img src=x" not in markup
    assert "<img src=x onerror=alert(1)>&amp;" in words(markup)


def test_the_html_asks_for_nothing_and_runs_nothing(fired: Incident) -> None:
    parser = _Words()
    markup = html(sent(delivery(fired, person("ann"))))
    parser.feed(markup)
    assert not {"script", "link", "iframe", "form", "img"} & set(parser.tags)
    assert "url(" not in markup
    assert "prefers-color-scheme" in markup


def test_the_narrowest_rule_is_named_with_its_scope(fired: Incident) -> None:
    assert fired.server is not None
    own = Threshold.objects.create(
        metric=Metric.objects.get(name="cpu"),
        scope=Scope.SERVER,
        server=fired.server,
        warning=70,
        critical=85,
        for_s=60,
    )
    fired.problems.update(threshold=own)
    assert "\nRule: CPU: Warning above 70%, Critical above 85%, for 1 min · One server: web-1\n" in plain(
        sent(delivery(fired, person("ann")))
    )


def test_a_rule_that_is_gone_is_said_to_be(fired: Incident) -> None:
    fired.problems.update(threshold=None)
    assert "\nRule: The threshold has been removed since.\n" in plain(sent(delivery(fired, person("ann"))))


def test_the_other_problems_are_listed(fired: Incident) -> None:
    problem(fired, "disk_used_share", '{"mount":"/var"}', value=95.0, limit=90.0)
    text = plain(sent(delivery(fired, person("ann"))))
    assert "Also wrong:\n- Critical: Disk by mount /var 95.0%, above its limit of 90% (11:59)\n" in text


def test_a_recovery_lists_all_that_was_wrong_with_its_extremes(fired: Incident) -> None:
    problem(fired, "cache_hit", condition=Condition.BELOW, value=40.0, limit=50.0)
    because = sentence("The server was paused.")
    text = plain(sent(delivery(recovered(fired, because), person("ann"), DeliveryKind.RECOVERED)))
    assert "- Critical: CPU: highest 99.1%, limit 85%, last 42.0%. The server was paused. (3 min 20 s)" in text
    assert "- Critical: Cache hit ratio: lowest 99.1%, limit 50%, last 42.0%" in text
    assert "\nLasted: 3 min 20 s\n" in text


def test_a_mail_that_comes_late_says_that_it_is_over(fired: Incident) -> None:
    row = delivery(recovered(fired), person("ann"))
    assert "\nMeanwhile: It recovered at 2026-03-02 12:02:20 UTC; another mail tells of it.\n" in plain(sent(row))


def test_a_mail_can_be_written_when_everything_is_gone(fired: Incident) -> None:
    row = delivery(recovered(fired), person("ann"), DeliveryKind.RECOVERED)
    assert fired.server is not None
    fired.problems.update(threshold=None, series=None)
    fired.server.delete()
    message = sent(Delivery.objects.get(pk=row.pk))
    assert message["Subject"] == "Recovered: web-1 CPU after 3 min 20 s"
    assert "/servers/" not in plain(message)


def test_a_person_is_written_to_in_their_language(fired: Incident) -> None:
    korean = sent(delivery(fired, person("ann"), language="ko"))
    with translation.override("ko"):
        level = str(Level.CRITICAL.label)
    assert level != "Critical"
    assert str(korean["Subject"]).startswith(f"{level}: web-1 ")
    assert '<html lang="ko"' in html(korean)


@pytest.mark.parametrize(("language", "zone"), [("xx", "Mars/Olympus"), ("", "")])
def test_an_unknown_language_or_zone_is_english_in_utc(fired: Incident, language: str, zone: str) -> None:
    message = sent(delivery(fired, person("ann"), language=language, time_zone=zone))
    assert "\nSince: 2026-03-02 11:59:00 UTC\n" in plain(message)


def test_two_people_of_one_language_share_the_text(fired: Incident, django_assert_num_queries: Any) -> None:
    rows = [delivery(fired, person(name)) for name in ("ann", "bob", "cid")]
    letters = Letters(rows, NOW)
    letters.build(rows[0])
    with django_assert_num_queries(0):
        others = [letters.build(row) for row in rows[1:]]
    assert [message["To"] for message in others] == ["bob@example.org", "cid@example.org"]


# --- Pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(transactional_db: None) -> Delivery:
    now = timezone.now()
    server = a_server()
    an_hour_of_samples(server, now)
    of = incident(server, began_at=now - timedelta(seconds=55), fired_at=now)
    problem(of, fired_at=now)
    return delivery(of, person("ann"), created_at=now)


def test_the_picture_of_the_hour_is_in_the_mail(measured: Delivery) -> None:
    message = sent(measured)
    picture = png(message)
    assert picture is not None
    assert picture.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", picture[16:24]) == (WIDTH, HEIGHT)
    (part,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert part["Content-ID"] == "<chart>"
    assert part.get_content_disposition() == "inline"
    assert 'src="cid:chart"' in html(message)


def test_the_picture_is_said_in_words_too(measured: Delivery) -> None:
    assert "at last 97.2%. Limit: 85%." in plain(sent(measured))


def test_a_history_that_cannot_be_read_costs_only_the_picture(measured: Delivery) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE monitoring_frame RENAME TO monitoring_frame_away")
    try:
        message = sent(measured)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE monitoring_frame_away RENAME TO monitoring_frame")
    assert png(message) is None
    assert message["Subject"] == "Critical: web-1 CPU 97.2% (limit 85%)"
