"""Every URL and every live topic, with everyone. One that the table in doors.py does not know fails."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from django.utils import timezone

from alerts.models import Bounce, Delivery, Rota, Silence, Threshold
from monitoring.ingest.doors import DOORS as INTAKE_DOORS
from monitoring.ingest.doors import intake
from monitoring.models import (
    Export,
    FollowedLog,
    Job,
    Metric,
    PushToken,
    Retention,
    Server,
    ServerTemplate,
    Simulation,
    Source,
)
from portal.accounts.models import ReadToken
from portal.toolkit.live.topic import topics
from tests.alerts.makers import critical_incident
from tests.asgi import ask
from tests.cast import Cast, make_cast, sign_in
from tests.doors import ANYONE, DOORS, GATE, SIGNED_IN, TOPICS, WAYS_IN

PRIVATE = ("shop-web-1", "the-private-note", "Web shop", "10.9.8.7", "owner@example.org", "reader@example.org")
POLICY = (
    "default-src 'self'",
    "script-src 'self' 'inline-speculation-rules'",
    "img-src 'self' data:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def ids(cast: Cast) -> dict[str, str]:
    """What stands for {ids} in the table: one object of each kind with its newest history row."""
    template = ServerTemplate.objects.create(name="web", kind="web", profile={})
    simulation, _ = Simulation.objects.get_or_create(pk=1)
    simulation.save()
    source = Source.objects.create(server=cast.server, collector="prometheus", url="http://10.9.8.7:9100/metrics")
    rota = Rota.objects.create(group=cast.group, starts_on="2026-01-01")
    silence = Silence.objects.create(
        server=cast.server, reason="the-private-note", starts_at=timezone.now(), ends_at=timezone.now() + timedelta(1)
    )
    told = _told(cast)
    audited = {
        "threshold": Threshold.objects.get(metric__name="cpu"),
        "rota": rota,
        "silence": silence,
        "user": cast.reader,
        "readtoken": ReadToken.objects.create(person=cast.reader, name="wall", digest="d", hint="h"),
        "servergroup": cast.group,
        "server": cast.server,
        "source": source,
        "servertemplate": template,
        "simulation": simulation,
        "retention": Retention.objects.create(
            group=cast.group, samples_days=1, minutes_days=2, quarters_days=3, hours_days=4
        ),
        "pushtoken": PushToken.objects.create(name="shop", group=cast.group, digest="d", hint="h"),
        "job": Job.objects.create(name="backup", server=cast.server),
    }
    versions = {f"{name}_version": str(row.history.latest().pk) for name, row in audited.items()}
    return {
        **{name: str(row.pk) for name, row in audited.items()},
        **versions,
        **{name: str(row.pk) for name, row in told.items()},
        "export": str(_export(cast).pk),
        "metric": str(Metric.objects.get(name="cpu").pk),
        "followedlog": str(FollowedLog.objects.create(machine="web-1", what="journal").pk),
        "group": str(cast.group.pk),
        "elsewhere": str(cast.elsewhere.pk),
        "server_type": str(ContentType.objects.get_for_model(Server).pk),
    }


def _told(cast: Cast) -> dict[str, Model]:
    """An open incident of the group's server, a mail about it, and an address that refused one."""
    now = timezone.now()
    incident = critical_incident(cast.server, now)
    delivery = Delivery.objects.create(
        incident=incident,
        person=cast.owner,
        person_name="owner",
        address="owner@example.org",
        kind="fired",
        level="critical",
        key="1-1-fired-critical",
        created_at=now,
        next_attempt_at=now,
    )
    bounce = Bounce.objects.create(address="reader@example.org", at=now, answer="550")
    return {"incident": incident, "delivery": delivery, "bounce": bounce}


def _export(cast: Cast) -> Export:
    """The reader's, of the group's server; nobody writes it."""
    now = timezone.now()
    return Export.objects.create(person=cast.reader, server=cast.server, starts_at=now, ends_at=now)


def browser_of(cast: Cast, who: str) -> Client:
    return sign_in(cast.by_name().get(who))


def test_every_url_is_in_the_table() -> None:
    walked = [key for key, _route in dict.fromkeys(_walk(get_resolver()))]  # one path may have an operation a method
    assert set(walked) == set(DOORS)
    assert len(walked) == len(DOORS)


def test_every_path_of_the_table_leads_to_its_url(ids: dict[str, str]) -> None:
    for key, door in DOORS.items():
        match = resolve(door.path.format(**ids).partition("?")[0])
        assert key in {match.view_name, match.route}, door


def test_every_way_in_is_in_the_table() -> None:
    paths = [door.path if isinstance(door.path, str) else door.path.pattern for door in INTAKE_DOORS]
    assert sorted(paths) == sorted(WAYS_IN)


@pytest.mark.parametrize(("path", "methods", "needs_token"), WAYS_IN.values())
def test_every_way_in_refuses_other_methods_and_who_has_no_token(
    path: str, methods: tuple[str, ...], needs_token: bool
) -> None:
    application = intake()
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} - set(methods):
        answer = ask(application, method, path)
        assert (answer.status, answer.headers["allow"]) == (405, ", ".join(methods))
    if needs_token:
        assert ask(application, methods[0], path, b"{}").status == 401
        assert ask(application, methods[0], path, b"{}", {"Authorization": "Basic b21wXzo="}).status == 401


def test_every_topic_is_in_the_table() -> None:
    assert set(topics()) == set(TOPICS)


@pytest.mark.parametrize("who", ANYONE)
def test_everyone_gets_what_they_should_at_every_door(cast: Cast, ids: dict[str, str], who: str) -> None:
    browser = browser_of(cast, who)
    wrong = []
    for key, door in DOORS.items():
        for method, expected in (("GET", door.get[who]), ("POST", door.post[who])):
            answer = _ask(browser, method, door.path.format(**ids))
            if not _is_as_expected(answer, expected, denied=method == "POST" and door.get[who] in {GATE, 403, 404}):
                wrong.append(
                    f"{method} {key}: {answer.status_code} {answer.headers.get('Location', '')}, not {expected}"
                )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("who", ["anonymous", "stranger"])
def test_nobody_reads_what_belongs_to_others(cast: Cast, ids: dict[str, str], who: str) -> None:
    browser = browser_of(cast, who)
    for door in DOORS.values():
        for method in ("GET", "POST"):
            answer = _ask(browser, method, door.path.format(**ids))
            told = _body(answer) + str(answer.headers)
            assert [word for word in PRIVATE if word in told] == [], f"{method} {door.path}"


def test_members_do_read_what_is_private(cast: Cast, ids: dict[str, str]) -> None:
    """Else the test above could not fail."""
    assert "shop-web-1" in _body(browser_of(cast, "reader").get("/servers/{server}/".format(**ids)))
    assert "10.9.8.7" in _body(browser_of(cast, "superuser").get("/admin/monitoring/source/"))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_pages_take_no_other_method(cast: Cast, ids: dict[str, str], method: str) -> None:
    browser = browser_of(cast, "superuser")
    for door in DOORS.values():
        assert _ask(browser, method, door.path.format(**ids)).status_code == 405, door.path


def test_a_form_from_another_site_changes_nothing_at_any_door(cast: Cast, ids: dict[str, str]) -> None:
    browser = Client(enforce_csrf_checks=True, raise_request_exception=False)
    browser.force_login(cast.superuser)
    for key, door in DOORS.items():
        answer = _ask(browser, "POST", door.path.format(**ids), {"x": "1"})
        assert answer.status_code in {403, 405}, key


@pytest.mark.parametrize("who", ["anonymous", "reader", "superuser"])
def test_every_page_is_strict(cast: Cast, ids: dict[str, str], who: str) -> None:
    """Headers on every answer; no script or style in the markup; nothing from elsewhere."""
    browser = browser_of(cast, who)
    complaints = []
    for door in DOORS.values():
        for method in ("GET", "POST"):
            answer = _ask(browser, method, door.path.format(**ids))
            complaints += [f"{method} {door.path}: {text}" for text in _loose(answer)]
    assert complaints == []


@pytest.mark.parametrize("who", ANYONE)
def test_everyone_watches_what_they_may_and_nothing_else(cast: Cast, ids: dict[str, str], who: str) -> None:
    person = cast.by_name().get(who) or AnonymousUser()
    for name, topic in topics().items():
        asked, expected = TOPICS[name]
        canonical = expected[who]
        answer = topic.admit(person, asked.format(**ids))
        assert answer == (None if canonical is None else canonical.format(**ids)), name
        if answer is not None and who in {"anonymous", "stranger"}:
            told = "".join(topic.render([answer], "en").values())
            assert [word for word in PRIVATE if word in told] == [], name


@pytest.mark.parametrize("key", ["", "0", "-1", "1e3", "999999999999999999999999", "../1", "1,2", "*", "١", "<b>"])
def test_a_topic_survives_a_key_that_makes_no_sense(cast: Cast, key: str) -> None:
    for name, topic in topics().items():
        answer = topic.admit(cast.reader, key)
        assert answer is None or (name in {"fleet", "alerts", "incidents", "logs"} and key == ""), name


@pytest.mark.parametrize("who", SIGNED_IN)
def test_a_server_that_does_not_exist_looks_like_one_of_others(cast: Cast, who: str) -> None:
    browser = browser_of(cast, who)
    for path in ("/servers/999999/", "/servers/999999/samples/", "/servers/999999/history/"):
        assert browser.get(path).status_code == 404


def _walk(resolver: URLResolver, namespace: str = "", route: str = "") -> Iterator[tuple[str, str]]:
    """(name with namespace, or the route where there is no name; the route) of every URL pattern."""
    for pattern in resolver.url_patterns:
        here = route + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, namespace + (f"{pattern.namespace}:" if pattern.namespace else ""), here)
        else:
            assert isinstance(pattern, URLPattern)
            yield (namespace + pattern.name if pattern.name else here), here


def _ask(browser: Client, method: str, path: str, data: dict[str, str] | None = None) -> HttpResponseBase:
    """One request whose effects on the database and on the browser are undone."""
    cookies = copy(browser.cookies)
    with transaction.atomic():
        sent = browser.post(path, data or {}) if method == "POST" else browser.generic(method, path)
        transaction.set_rollback(True)
    browser.cookies = cookies
    answer: HttpResponseBase = sent
    return answer


def _is_as_expected(answer: HttpResponseBase, expected: int, *, denied: bool) -> bool:
    """`denied`: who may not even look may be told so, or that the method is wrong."""
    location = answer.headers.get("Location", "")
    gate = answer.status_code == 302 and location.startswith(("/accounts/login/?next=", "/admin/login/?next="))
    if expected == GATE or denied:
        return gate or (denied and answer.status_code in {403, 404, 405})
    return answer.status_code == expected and not gate


def _body(answer: HttpResponseBase) -> str:
    if answer.streaming:
        return b"".join(answer).decode(errors="replace")
    return answer.content.decode(errors="replace")


def _loose(answer: HttpResponseBase) -> Iterator[str]:
    headers = answer.headers
    policy = {part.strip() for part in headers.get("Content-Security-Policy", "").split(";")}
    if policy != set(POLICY):
        yield f"policy {policy}"
    for name, value in (
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    ):
        if headers.get(name) != value:
            yield f"{name} {headers.get(name)}"
    if "camera=()" not in headers.get("Permissions-Policy", ""):
        yield "no Permissions-Policy"
    if headers.get("Content-Type", "").startswith("text/html"):
        markup = _Strict()
        markup.feed(_body(answer))
        yield from markup.complaints


class _Strict(HTMLParser):
    """Finds what a strict policy would refuse, and what is fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.complaints: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "style" or (tag == "script" and "src" not in given and given.get("type") != "application/json"):
            self.complaints.append(f"inline {tag}")
        for name, value in given.items():
            if name == "style" or name.startswith(("on", "hx-on")):
                self.complaints.append(f"{tag} {name}={value}")
            if name in {"href", "src", "action", "formaction"} and value.strip().lower().startswith("javascript:"):
                self.complaints.append(f"{tag} {name}={value}")
            if name == "src" and value.startswith(("http:", "https:", "//")):
                self.complaints.append(f"{tag} from elsewhere: {value}")


@pytest.mark.parametrize(
    "markup",
    [
        "<style>p{}</style>",
        "<script>1</script>",
        "<p style='color:red'>",
        "<p onclick='x()'>",
        "<a href='JavaScript:x'>",
        "<p hx-on:click='x'>",
        "<script src='https://cdn.example/x.js'></script>",
    ],
)
def test_loose_markup_is_found(markup: str) -> None:
    parser = _Strict()
    parser.feed(markup)
    assert len(parser.complaints) == 1
