"""The bell and the strip "nobody has this": on every page, for everyone what they may see."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from alerts import incidents
from alerts.models import DeliveryStatus, Scope, Silence
from alerts.queries.announce import Board, board_for, operates
from alerts.rules.observation import Phase
from monitoring.models import Role, Series, Server, ServerGroup, ServerTemplate
from portal.accounts.models import User
from portal.toolkit.live.topic import topics
from tests.alerts.makers import NOW, apply, at, make_series, make_server, mark, observe, open_incident
from tests.cast import member, person, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def stranger() -> User:
    return member("stranger", ServerGroup.objects.create(name="Elsewhere"), Role.ADMIN)


def seen_by(user: User, seconds: float = 0) -> Board:
    return board_for(user, at(seconds))


def pushed(user: User, language: str = "en") -> str:
    alerts = topics()["alerts"]
    key = alerts.admit(user, "")
    assert key is not None
    with translation.override(language):
        return alerts.render([key], language)[key].strip()


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html)).strip()


def silence(**fields: Any) -> Silence:
    return Silence.objects.create(
        **{"reason": "Known", "starts_at": NOW, "ends_at": NOW + timedelta(hours=1), **fields}
    )


# --- The bell ---------------------------------------------------------------------------------------------------------


def test_a_calm_bell_says_that_nothing_fires(ann: User) -> None:
    board = seen_by(ann)
    assert (board.firing, board.level, board.nobody, board.announcements) == (0, "", None, [])
    assert "Alerts: none fires" in text_of(pushed(ann))


def test_it_counts_the_worst_level_and_what_fires_beside_it(group: ServerGroup, cpu: Series, ben: User) -> None:
    other = make_series(make_server("web-2", group))
    apply(observe(cpu, Phase.WARNING), observe(other, Phase.CRITICAL))
    board = seen_by(ben)
    assert (board.firing, board.worst, board.milder, board.level) == (2, 1, 1, "critical")
    assert re.search(r"1\s*Critical\s*\+1\s*: 2 alerts fire", text_of(pushed(ben)))


def test_what_is_not_yet_broken_for_long_enough_rings_no_bell(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.PENDING))
    assert seen_by(ben).firing == 0


def test_it_counts_what_somebody_has_apart(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(1))
    board = seen_by(ben, 2)
    assert (board.firing, board.acknowledged, board.level, board.nobody) == (0, 1, "", None)


def test_a_stranger_hears_of_nothing(cpu: Series, ben: User, stranger: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    board = seen_by(stranger)
    assert (board.firing, board.nobody, board.announcements) == (0, None, [])
    assert "web-1" not in pushed(stranger)


def test_an_incident_of_a_server_that_is_gone_belongs_to_the_group_it_was_in(
    web: Server, cpu: Series, ben: User, stranger: User
) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    open_incident(web)
    web.delete()
    assert seen_by(ben).firing == 1
    assert seen_by(stranger).firing == 0


# --- Nobody has this --------------------------------------------------------------------------------------------------


def test_the_strip_names_the_worst_and_counts_the_others(group: ServerGroup, cpu: Series, ben: User) -> None:
    others = [make_series(make_server(f"db-{number}", group)) for number in range(2)]
    apply(*(observe(one, Phase.WARNING) for one in others), observe(cpu, Phase.CRITICAL, at(5)))
    nobody = seen_by(ben, 6).nobody
    assert nobody is not None
    assert (nobody.server, nobody.reading, nobody.level_word) == ("web-1", "CPU 97.2%", "Critical")
    assert (nobody.since, nobody.others, nobody.unheard) == (at(5), 2, False)
    assert "Nobody has this: web-1CPU 97.2% · Critical since" in text_of(pushed(ben))
    assert "and 2 more" in text_of(pushed(ben))


def test_the_strip_says_when_nobody_could_be_told(cpu: Series, ann: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))  # no rota: nobody is on call
    nobody = seen_by(ann).nobody
    assert nobody is not None
    assert nobody.unheard
    assert "nobody was told" in text_of(pushed(ann))


def test_mails_that_all_bounced_told_nobody(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    mark(DeliveryStatus.DEAD, person=ben)
    nobody = seen_by(ben).nobody
    assert nobody is not None
    assert not nobody.unheard


def test_a_simulated_server_that_is_not_mailed_is_no_failure(group: ServerGroup, ann: User, settings: Any) -> None:
    settings.SIMULATED_MAIL = False
    template = ServerTemplate.objects.create(name="web", kind="web", profile={})
    apply(observe(make_series(make_server("sim-1", group, template=template)), Phase.CRITICAL))
    nobody = seen_by(ann).nobody
    assert nobody is not None
    assert (nobody.simulated, nobody.unheard) == (True, False)
    assert "simulated" in text_of(pushed(ann))


@pytest.mark.parametrize("scope", [Scope.ALL, Scope.KIND, Scope.GROUP, Scope.SERVER])
def test_what_is_silenced_needs_nobody(web: Server, cpu: Series, ben: User, scope: Scope) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    target = {Scope.KIND: {"kind": web.kind}, Scope.GROUP: {"group": web.group}, Scope.SERVER: {"server": web}}
    silence(scope=scope, **target.get(scope, {}))
    assert (seen_by(ben, 60).nobody, seen_by(ben, 60).firing) == (None, 1)
    assert seen_by(ben, 3601).nobody is not None


def test_a_silence_of_something_else_changes_nothing(web: Server, cpu: Series, memory: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL), observe(memory, Phase.WARNING))
    silence(scope=Scope.SERVER, server=web, metric=memory.metric)
    silence(scope=Scope.KIND, kind="cache")
    assert seen_by(ben, 60).nobody is not None
    silence(scope=Scope.SERVER, server=web, metric=cpu.metric)
    assert seen_by(ben, 60).nobody is None


def test_it_is_gone_when_it_is_over(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(5), 40.0))
    assert seen_by(ben, 6).nobody is None


# --- On every page ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("path", ["/", "/accounts/preferences/", "/alerts/"])
def test_what_is_pushed_is_what_a_reload_shows(cpu: Series, ben: User, path: str, language: str) -> None:
    apply(observe(cpu, Phase.CRITICAL, timezone.now()))
    html = sign_in(ben).get(path, headers={"Accept-Language": language}).content.decode()
    assert pushed(ben, language) in html


def test_the_fragment_has_one_root_with_an_id_and_a_stamp(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL, timezone.now()))
    html = pushed(ben)
    assert re.match(r'<div id="alerts" class="alerts" data-live="alerts" data-at="\d{13}" data-live-always>', html)
    assert html.endswith("</div>")
    assert html.count("<div") == html.count("</div>")


def test_markup_in_a_name_stays_text(web: Server, cpu: Series, ben: User) -> None:
    Server.objects.filter(pk=web.pk).update(name="<script>alert(1)</script>")
    apply(observe(cpu, Phase.CRITICAL, timezone.now()))
    assert "<script" not in pushed(ben)
    assert pushed(ben).count("&lt;script&gt;") >= 2


def test_who_is_not_signed_in_is_told_nothing(cpu: Series, client: Client) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    html = client.get("/accounts/login/").content.decode()
    assert 'id="alerts"' not in html
    assert "web-1" not in html


def test_calm_costs_two_queries_and_a_storm_four(group: ServerGroup, ann: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        seen_by(ann)
    apply(*(observe(make_series(make_server(f"db-{number}", group)), Phase.CRITICAL) for number in range(30)))
    with django_assert_num_queries(4):
        assert seen_by(ann, 1).firing == 30


def test_who_may_acknowledge_where_is_on_the_page(group: ServerGroup, ann: User) -> None:
    assert operates(ann) == str(group.pk)
    assert operates(member("reader", group, Role.VIEWER)) == ""
    assert operates(person("root", is_superuser=True)) == "*"
    assert f'data-operates="{group.pk}"' in sign_in(ann).get("/").content.decode()
