"""Push tokens: what a token may send, how it is replaced, and that its text is nowhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring.ingest import desk, hosts, tokens
from monitoring.models import PushToken, Server, ServerGroup
from portal.toolkit.intake import ForbiddenError
from tests.cast import Cast, make_cast, sign_in
from tests.monitoring.ingest.conftest import TEXT, push

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

ONE = {"host": "web-1", "metrics": {"cpu": 1}}


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def test_a_token_is_known_by_its_text_alone(token: PushToken) -> None:
    assert tokens.look_up(TEXT) == token
    assert tokens.look_up(TEXT + "x") is None
    assert tokens.look_up(token.digest) is None
    assert TEXT not in str(PushToken.objects.values().get() | token.history.values().get())


def test_a_rotated_token_is_taken_for_another_day(token: PushToken) -> None:
    now = timezone.now()
    text = tokens.rotate(token, now)
    assert tokens.look_up(text) == tokens.look_up(TEXT) == token
    PushToken.objects.update(former_until=now)
    assert tokens.look_up(TEXT) is None
    assert tokens.look_up(text) == token


def test_a_token_that_is_switched_off_or_over_is_told_so(token: PushToken) -> None:
    PushToken.objects.update(enabled=False)
    with pytest.raises(ForbiddenError, match="switched off"):
        tokens.look_up(TEXT)
    PushToken.objects.update(enabled=True, expires_at=timezone.now() - timedelta(hours=1))
    with pytest.raises(ForbiddenError, match="expired"):
        tokens.look_up(TEXT)


# --- Scope ------------------------------------------------------------------------------------------------------------


def test_a_host_that_nobody_knows_joins_the_group_of_the_token(token: PushToken) -> None:
    assert push(token, {**ONE, "host": "  web-1\t", "kind": "web", "description": "shop"}).status == 400
    assert push(token, {**ONE, "host": "  web  1 ", "kind": "web", "description": "shop"}).status == 200
    server = Server.objects.get(name="web 1")
    assert (server.group, server.kind, server.description) == (token.group, "web", "shop")
    assert server.history.get().history_change_reason == hosts.JOINED


def test_a_token_that_adds_no_servers_sends_for_those_of_its_group(
    make_token: Callable[..., PushToken], server: Server
) -> None:
    token = make_token(adds_servers=False)
    answer = push(token, [{**ONE, "host": server.name}, ONE])
    assert (answer.status, answer.body["kept"]) == (400, 1)
    assert answer.body["refused"] == [{"where": "web-1: cpu", "reason": hosts.NOT_ALLOWED, "count": 1}]
    assert not Server.objects.filter(name="web-1").exists()


def test_a_name_of_another_group_is_refused_in_words_that_do_not_tell_whose_it_is(
    make_token: Callable[..., PushToken], server: Server
) -> None:
    theirs = Server.objects.create(name="web-1", group=ServerGroup.objects.create(name="Secret lab"))
    answer = push(make_token(), ONE)
    nobodys = push(make_token("omp_two", adds_servers=False), {**ONE, "host": "nobody"})
    assert (answer.status, answer.body["kept"]) == (400, 0)
    assert answer.body["refused"][0]["reason"] == nobodys.body["refused"][0]["reason"]
    assert "lab" not in str(answer.body)
    assert not theirs.series.exists()


def test_a_token_for_some_servers_takes_only_these(
    make_token: Callable[..., PushToken], make_server: Callable[..., Server]
) -> None:
    token = make_token()
    one, two = make_server("one"), make_server("two")
    token.servers.set([one])
    answer = push(token, [{**ONE, "host": name} for name in ("one", "two", "three")])
    assert (answer.body["kept"], answer.body["refused_count"]) == (1, 2)
    assert (one.series.count(), two.series.count(), Server.objects.count()) == (1, 0, 2)


def test_a_token_whose_servers_are_all_deleted_is_not_for_the_whole_group(
    make_token: Callable[..., PushToken], make_server: Callable[..., Server]
) -> None:
    token, for_all = make_token(), make_token("omp_another")
    token.servers.set([make_server("one"), make_server("two"), make_server("three")])
    Server.objects.get(name="one").delete()
    assert tokens.look_up(TEXT) == token
    Server.objects.filter(name__in=["two", "three"]).delete()
    with pytest.raises(ForbiddenError, match="switched off"):
        tokens.look_up(TEXT)
    assert token.history.first().history_change_reason == tokens.LAST_SERVER_GONE
    assert tokens.look_up("omp_another") == for_all


def test_a_token_for_one_server_need_not_name_it(token: PushToken, server: Server) -> None:
    assert push(token, {"metrics": {"cpu": 1}}).status == 400
    token.servers.set([server])
    hosts.forget()
    assert push(token, {"metrics": {"cpu": 1}}).status == 200
    assert server.series.count() == 1


def test_a_server_that_moves_to_another_group_is_taken_away(token: PushToken) -> None:
    assert push(token, ONE).status == 200
    Server.objects.update(group=ServerGroup.objects.create(name="Elsewhere"))
    hosts.forget()
    desk.forget()
    assert push(token, ONE).status == 400


def test_a_token_that_moves_to_another_group_sends_for_that_one_at_once(token: PushToken) -> None:
    """What was found for its former group is not handed on by one memory to the next."""
    assert push(token, ONE).status == 200
    token.group = ServerGroup.objects.create(name="Elsewhere")
    token.save()
    assert push(token, ONE).status == 400


# --- Use --------------------------------------------------------------------------------------------------------------


def test_the_use_of_a_token_is_written_down(token: PushToken) -> None:
    push(token, {"host": "web-1", "metrics": {"a": 1, "b": 2, "c": "x"}})
    push(token, b"no json")
    tokens.flush()
    token.refresh_from_db()
    assert (token.used_from, token.samples, token.refused, token.series_count) == ("10.0.0.7", 2, 1, 2)
    assert token.used_at is not None
    assert timezone.now() - token.used_at < timedelta(minutes=1)


def test_samples_a_minute_are_those_of_the_last_whole_one(token: PushToken) -> None:
    at = timezone.now().replace(second=10, microsecond=0)
    for minute, samples in ((0, 5), (0, 6), (1, 100)):
        tokens._write(token.pk, tokens._Use(at + timedelta(minutes=minute), samples=samples))
    token.refresh_from_db()
    rates = [tokens.samples_a_minute(token, at + timedelta(minutes=minute)) for minute in (1, 2, 3)]
    assert rates == [11, 100, 0]


# --- The admin --------------------------------------------------------------------------------------------------------


def test_the_text_is_shown_once_with_commands_and_never_again(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    browser = sign_in(cast.superuser)
    form = {"name": "shop", "group": cast.group.pk, "adds_servers": "on", "host_label": "instance", "series_budget": 9}
    made = browser.post("/admin/monitoring/pushtoken/add/", form).content.decode()
    text = made.partition("<code>")[2].partition("</code>")[0]
    assert tokens.look_up(text) == PushToken.objects.get(name="shop")
    for part in ("/api/push", "/api/v1/write", "/v1/metrics", f"Bearer {text}", f"credentials: {text}"):
        assert part in made
    token = PushToken.objects.get(name="shop")
    pages = ["", f"{token.pk}/change/", f"{token.pk}/history/"]
    assert [page for page in pages if text in browser.get(f"/admin/monitoring/pushtoken/{page}").content.decode()] == []
    assert text not in caplog.text


def test_rotating_shows_another_text_once(cast: Cast) -> None:
    token = PushToken(name="shop", group=cast.group)
    tokens.dress(token, TEXT)
    token.save()
    browser = sign_in(cast.superuser)
    asked = {"action": "rotate", "_selected_action": [token.pk]}
    answer = browser.post("/admin/monitoring/pushtoken/", asked)
    text = answer.content.decode().partition("<code>")[2].partition("</code>")[0]
    assert tokens.look_up(text) == tokens.look_up(TEXT) == token
    assert text != TEXT
    assert "no-store" in answer.headers["Cache-Control"]
    assert token.history.latest().history_change_reason == tokens.ROTATED


def test_saving_and_rotating_from_the_form_leaves_what_was_counted(cast: Cast) -> None:
    token = PushToken(name="shop", group=cast.group, samples=7)
    tokens.dress(token, TEXT)
    token.save()
    form = {
        "name": "store",
        "group": cast.group.pk,
        "host_label": "node",
        "series_budget": 5,
        "enabled": "on",
        "_rotate": "1",
    }
    answer = sign_in(cast.superuser).post(f"/admin/monitoring/pushtoken/{token.pk}/change/", form)
    text = answer.content.decode().partition("<code>")[2].partition("</code>")[0]
    kept = tokens.look_up(text)
    assert kept is not None
    assert (kept.name, kept.host_label, kept.samples, kept.adds_servers) == ("store", "node", 7, False)


def test_the_form_refuses_servers_of_another_group(cast: Cast) -> None:
    theirs = Server.objects.create(name="theirs", group=cast.elsewhere)
    form = {"name": "x", "group": cast.group.pk, "servers": [theirs.pk], "host_label": "i", "series_budget": 5}
    answer = sign_in(cast.superuser).post("/admin/monitoring/pushtoken/add/", form)
    assert "theirs" in answer.content.decode()
    assert not PushToken.objects.exists()


def test_the_owner_is_told_that_the_budget_is_used_up(cast: Cast) -> None:
    token = PushToken(name="shop", group=cast.group, series_budget=2)
    tokens.dress(token, TEXT)
    token.save()
    push(token, {"host": "web-9", "metrics": {"a": 1, "b": 2, "c": 3}})
    tokens.flush()
    page = sign_in(cast.superuser).get(f"/admin/monitoring/pushtoken/{token.pk}/change/").content.decode()
    assert "web-9: c" in page
    assert "2 of 2" in page
