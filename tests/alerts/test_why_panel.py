""" "Why is this red?": the panel on the page of a server."""

from __future__ import annotations

import html as markup
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from alerts import incidents
from alerts.models import Condition, Scope, Silence, Threshold
from alerts.queries.why import MOST_SHOWN, Why, why
from alerts.rules.observation import Phase
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Role, Series, Server, ServerGroup, ServerState
from portal.accounts.models import User
from portal.toolkit.sparkline import HEIGHT
from tests.alerts.makers import NOW, apply, at, make_series, make_threshold, observe, open_incident
from tests.cast import member, person, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def only_our_thresholds(db: None) -> None:
    Threshold.objects.all().delete()


def panel(server: Server, seconds: float = 0, *, may_edit: bool = False) -> Why:
    server.refresh_from_db()
    return why(server, at(seconds), may_edit=may_edit)


def shown(server: Server, user: User) -> str:
    answer = sign_in(user).get(f"/alerts/servers/{server.pk}/")
    assert answer.status_code == 200
    return answer.content.decode()


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", markup.unescape(re.sub(r"<script.*?</script>|<[^>]+>", "", html, flags=re.S))).strip()


# --- Calm -------------------------------------------------------------------------------------------------------------


def test_a_healthy_server_is_calm_and_says_who_watches(web: Server, cpu: Series, memory: Series, ann: User) -> None:
    make_threshold("cpu")
    make_threshold("memory", critical=90.0)
    assert panel(web).is_calm
    assert "Nothing is wrong. 2 thresholds watch this server." in text_of(shown(web, ann))


def test_a_server_that_nothing_watches_says_so(web: Server, cpu: Series, ann: User) -> None:
    assert "No threshold watches this server." in text_of(shown(web, ann))


def test_an_offline_server_is_not_called_fine(web: Server, ann: User) -> None:
    Server.objects.filter(pk=web.pk).update(state=ServerState.OFFLINE, state_reason="No data arrives any more.")
    assert not panel(web).is_calm
    assert "No threshold is broken. No data arrives any more." in text_of(shown(web, ann))


# --- Thresholds -------------------------------------------------------------------------------------------------------


def test_the_narrowest_threshold_wins_and_the_others_say_who_overrides_them(web: Server, cpu: Series) -> None:
    make_threshold("cpu", critical=85.0)
    make_threshold("cpu", critical=90.0, scope=Scope.GROUP, group=web.group)
    make_threshold("cpu", critical=95.0, scope=Scope.KIND, kind="cache")
    rules = panel(web).rules
    assert [(rule.target, rule.limits, rule.wins, rule.loses_to) for rule in rules] == [
        ("Group Machines", ["Critical above 90.0%"], True, ""),
        ("All servers", ["Critical above 85.0%"], False, "Group Machines"),
    ]
    assert panel(web).watching == 1


def test_a_threshold_says_all_that_it_asks(web: Server, cpu: Series) -> None:
    make_threshold("cpu", critical=85.0, warning=80.0, clear=70.0, for_s=300, no_data_after_s=120)
    [rule] = panel(web).rules
    assert rule.limits == ["Critical above 85.0%", "Warning above 80.0%", "Warning after 2 min without data"]
    assert rule.details == ["for 5 min", "over below 70.0%"]


def test_other_limits_for_a_time_are_said_to_be_so(web: Server, cpu: Series) -> None:
    make_threshold("cpu", critical=85.0, override_until=at(60), override_critical=99.0)
    assert panel(web).rules[0].limits == ["Critical above 99.0%"]
    assert panel(web).rules[0].overridden_until == at(60)
    assert panel(web, 61).rules[0].limits == ["Critical above 85.0%"]
    assert panel(web, 61).rules[0].overridden_until is None


def test_one_that_is_off_or_exempts_or_measures_something_else_watches_nothing(
    web: Server, cpu: Series, ann: User
) -> None:
    make_threshold("cpu", critical=None, scope=Scope.SERVER, server=web)
    make_threshold("cpu", enabled=False)
    make_threshold("replication_lag", critical=5.0)
    assert panel(web).watching == 0
    text = text_of(shown(web, ann))
    for words in ("never alerts", "no, switched off", "not measured here"):
        assert words in text


# --- What is wrong ----------------------------------------------------------------------------------------------------


def test_a_red_server_says_which_rule_which_value_and_since_when(web: Server, cpu: Series, ben: User) -> None:
    shadowed = make_threshold("cpu", critical=85.0)
    rule = make_threshold("cpu", critical=90.0, scope=Scope.GROUP, group=web.group)
    apply(observe(cpu, Phase.CRITICAL, threshold_id=rule.pk, limit=90.0, peak=99.0))
    [one] = panel(web, 5).wrongs
    assert (one.subject, one.value, one.limit, one.worst) == ("CPU", "97.2%", "above 90.0%", "99.0%")
    assert (one.since, one.level, one.firing) == (NOW, "critical", True)
    assert one.rule is not None
    assert one.rule.target == "Group Machines"
    assert [other.target for other in one.shadows] == ["All servers"]
    html = shown(web, ben)
    assert "Why is this red?" in html
    assert f'href="/alerts/{open_incident(web).pk}/"' in html
    assert "instead of All servers" in text_of(html)
    assert shadowed.pk != rule.pk


def test_it_says_who_has_it(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    assert "Nobody has this" in text_of(shown(web, ben))
    incidents.acknowledge(open_incident(web), ben, reason="Looking", until=at(3600), now=at(1))
    text = text_of(shown(web, ben))
    assert "Nobody has this" not in text
    assert "ben until" in text
    assert "Looking" in text


def test_it_says_that_it_is_silenced(web: Server, cpu: Series, ben: User) -> None:
    now = timezone.now()
    apply(observe(cpu, Phase.CRITICAL, now))
    Silence.objects.create(
        scope=Scope.SERVER, server=web, reason="Moving", starts_at=now, ends_at=now + timedelta(hours=1)
    )
    text = text_of(shown(web, ben))
    assert "silenced until" in text
    assert "Nobody has this" not in text


def test_what_is_not_yet_broken_for_long_enough_is_told_apart(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.PENDING, critical=True))
    [one] = panel(web).wrongs
    assert not one.firing
    assert "not yet for long enough" in text_of(shown(web, ben))


def test_silence_of_a_series_is_no_number(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.WARNING, value=None, peak=None, condition=Condition.NO_DATA, limit=None))
    [one] = panel(web).wrongs
    assert (one.value, one.limit, one.worst) == ("no data", "", "")


def test_the_last_samples_stand_beside_it(web: Server, ben: User) -> None:
    now_ms = int(timezone.now().timestamp() * 1000) // 5000 * 5000
    values = {now_ms - 10_000: 50.0, now_ms - 5_000: 96.5, now_ms: 97.2}
    record([Frame.of(web.pk, ms, {"cpu": value}) for ms, value in values.items()], origin="test")
    apply(observe(Series.objects.get(server=web), Phase.CRITICAL, timezone.now()))
    [one] = why(web, timezone.now(), may_edit=False).wrongs
    assert one.track is not None
    assert one.track.now == "97.2%"
    assert [value for _at, value in one.track.samples] == ["97.2%", "96.5%", "50.0%"]
    assert 0 < float(one.track.limit_y) < HEIGHT


def test_thirty_problems_are_shown_in_part_at_the_price_of_three(
    web: Server, ben: User, django_assert_max_num_queries: Any
) -> None:
    series = [make_series(web, f"metric_{number}") for number in range(30)]
    apply(*(observe(one, Phase.CRITICAL) for one in series))
    web.refresh_from_db()
    # 15, and one for each of the three reads: samples as old as NOW may have left.
    with django_assert_max_num_queries(18):
        seen = why(web, at(1), may_edit=False)
    assert (len(seen.wrongs), seen.more) == (MOST_SHOWN, 30 - MOST_SHOWN)


# --- For the charts ---------------------------------------------------------------------------------------------------


def test_charts_are_given_the_winning_limits_and_the_times_of_trouble(web: Server, cpu: Series, ben: User) -> None:
    make_threshold("cpu", critical=70.0)
    make_threshold("cpu", warning=80.0, critical=90.0, scope=Scope.SERVER, server=web)
    make_threshold("memory", critical=50.0)  # not measured
    apply(observe(cpu, Phase.CRITICAL, limit=90.0))
    apply(observe(cpu, Phase.FINE, at(5), 40.0))
    drawn = panel(web, 10).drawn
    assert [(one["metric"], one["level"], one["value"]) for one in drawn["limits"]] == [
        ("cpu", "critical", 90.0),
        ("cpu", "warning", 80.0),
    ]
    start = int(NOW.timestamp() * 1000)
    assert drawn["spans"] == [
        {"metric": "cpu", "start": start, "end": start + 5000, "level": "critical", "text": "Critical above 90.0%"}
    ]
    written = re.search(r'data-chart-limits hidden><script[^>]*type="application/json">(.*?)</script>', shown(web, ben))
    assert written is not None
    assert json.loads(written[1])["limits"] == drawn["limits"]


def test_trouble_of_the_day_before_is_not_drawn(web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(5), 40.0))
    assert panel(web, 86_400 + 6).drawn["spans"] == []


# --- Who may ----------------------------------------------------------------------------------------------------------


def test_only_who_may_change_thresholds_is_led_to_them(web: Server, cpu: Series, ann: User) -> None:
    rule = make_threshold("cpu")
    address = f"/admin/alerts/threshold/{rule.pk}/change/"
    assert address not in shown(web, ann)
    assert "Critical above 85.0%" in text_of(shown(web, ann))
    editor = member("editor", web.group, Role.ADMIN)
    editor.is_staff = True
    editor.save(update_fields=["is_staff"])
    editor.user_permissions.add(Permission.objects.get(codename="change_threshold"))
    assert address in shown(web, editor)
    assert address in shown(web, person("root", is_staff=True, is_superuser=True))


def test_a_stranger_is_told_that_there_is_no_such_server(web: Server) -> None:
    stranger = member("stranger", ServerGroup.objects.create(name="Elsewhere"), Role.ADMIN)
    assert sign_in(stranger).get(f"/alerts/servers/{web.pk}/").status_code == 404


def test_the_page_of_the_server_loads_the_panel(web: Server, ann: User) -> None:
    html = sign_in(ann).get(f"/servers/{web.pk}/").content.decode()
    assert f'hx-get="/alerts/servers/{web.pk}/" hx-trigger="load,' in html
