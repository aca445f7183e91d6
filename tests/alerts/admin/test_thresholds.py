from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from alerts.admin.reach import decided_series
from alerts.models import Condition, Incident, Problem, Threshold
from alerts.models.oncall import Rota, RotaMember
from alerts.rules.scope import winners
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Metric, Server, ServerGroup
from tests.cast import Cast, make_cast, person, sign_in

pytestmark = pytest.mark.django_db

LIST = "/admin/alerts/threshold/"
ADD = f"{LIST}add/"


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


@pytest.fixture
def cpu() -> Threshold:
    return Threshold.objects.get(metric__name="cpu")


def metric(name: str) -> int:
    return Metric.objects.get(name=name).pk


def asked(**fields: object) -> dict[str, Any]:
    """What the form sends for a threshold of the disk, for everyone; `fields` are put in or replaced."""
    form = {"metric": metric("disk"), "direction": "above", "scope": "all", "critical": 90, "for_s": 0}
    form |= {"no_data_level": "warning", "enabled": "on", "change_reason": "the disks are full again"}
    return {name: value for name, value in (form | fields).items() if value is not None}


def errors(admin: Client, **fields: object) -> dict[str, str]:
    """What the form says about a new threshold, by field; it must not be saved."""
    count = Threshold.objects.count()
    page = admin.post(ADD, asked(**fields))
    assert page.status_code == 200, "it was saved"
    assert Threshold.objects.count() == count
    return {name: " ".join(said) for name, said in page.context["adminform"].form.errors.items()}


def change(admin: Client, threshold: Threshold, **fields: object) -> Any:
    """Send the form of an existing one with `fields` replaced."""
    page = admin.get(f"{LIST}{threshold.pk}/change/")
    form = page.context["adminform"].form
    kept = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    kept |= {"enabled": "on" if threshold.enabled else None, "change_reason": "because"} | fields
    sent = {name: value for name, value in kept.items() if value is not None and name != "override_until"}
    return admin.post(f"{LIST}{threshold.pk}/change/", sent)


def warnings(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request) if message.level_tag == "warning"]


# --- Adding, changing, deleting, bringing back ------------------------------------------------------------------------


def test_a_new_threshold_keeps_who_made_it_and_why(cast: Cast, admin: Client) -> None:
    assert admin.post(ADD, asked(scope="server", server=cast.server.pk)).status_code == 302
    made = Threshold.objects.get(server=cast.server)
    version = made.history.get()
    assert (version.history_user, version.history_change_reason) == (cast.superuser, "the disks are full again")


@pytest.mark.parametrize("reason", [None, "", "   "])
def test_nothing_is_added_or_changed_without_a_reason(admin: Client, cpu: Threshold, reason: str | None) -> None:
    assert "change_reason" in errors(admin, change_reason=reason)
    assert change(admin, cpu, critical=50, change_reason=reason).status_code == 200
    cpu.refresh_from_db()
    assert cpu.critical == 85


def test_the_history_shows_who_when_differences_and_why(admin: Client, cpu: Threshold) -> None:
    assert change(admin, cpu, critical=70, change_reason="it was too late").status_code == 302
    page = admin.get(f"{LIST}{cpu.pk}/history/").content.decode()
    assert "<strong>Critical</strong>: <del>85.0</del> → <ins>70.0</ins>" in page
    assert "it was too late" in page
    assert "superuser" in page
    assert "Shipped with OpenManager." in page


def test_an_older_version_comes_back_with_a_reason(cast: Cast, admin: Client, cpu: Threshold) -> None:
    change(admin, cpu, critical=70)
    first = cpu.history.earliest()
    at = reverse("admin:alerts_threshold_simple_history", args=[cpu.pk, first.pk])
    assert 'value="85.0"' in admin.get(at).content.decode()
    form = asked(metric=cpu.metric_id, critical=85, no_data_after_s=300, no_data_level="critical")
    assert "change_reason" in admin.post(at, form | {"change_reason": ""}).context["adminform"].form.errors
    assert admin.post(at, form | {"change_reason": "too many mails"}).status_code == 302
    cpu.refresh_from_db()
    assert cpu.critical == 85
    version = cpu.history.latest()
    assert (version.history_user, version.history_change_reason) == (cast.superuser, "too many mails")


def test_deleting_asks_why(cast: Cast, admin: Client, cpu: Threshold) -> None:
    at = f"{LIST}{cpu.pk}/delete/"
    assert "CPU" in admin.get(at).content.decode()
    assert admin.post(at, {"change_reason": " "}).status_code == 200
    assert Threshold.objects.filter(pk=cpu.pk).exists()
    assert admin.post(at, {"change_reason": "we have our own"}, follow=True).status_code == 200
    assert not Threshold.objects.filter(pk=cpu.pk).exists()
    gone = Threshold.history.filter(id=cpu.pk).latest()
    assert (gone.history_type, gone.history_user, gone.history_change_reason) == (
        "-",
        cast.superuser,
        "we have our own",
    )


def test_a_deleted_one_can_be_brought_back_from_its_history(admin: Client, cpu: Threshold) -> None:
    admin.post(f"{LIST}{cpu.pk}/delete/", {"change_reason": "by mistake"})
    last = Threshold.history.filter(id=cpu.pk).latest()
    at = reverse("admin:alerts_threshold_simple_history", args=[cpu.pk, last.pk])
    form = asked(metric=cpu.metric_id, critical=85, change_reason="it was a mistake")
    assert admin.post(at, form).status_code == 302
    assert Threshold.objects.get(pk=cpu.pk).critical == 85


# --- Actions of the list ----------------------------------------------------------------------------------------------


def act(admin: Client, action: str, *rows: Threshold, **fields: str) -> Any:
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return admin.post(LIST, chosen | fields, follow=True)


@pytest.mark.parametrize("action", ["enable", "disable", "delete_chosen"])
def test_an_action_asks_why_before_it_does_anything(admin: Client, cpu: Threshold, action: str) -> None:
    Threshold.objects.filter(pk=cpu.pk).update(enabled=action != "enable")
    before = cpu.history.count()
    page = act(admin, action, cpu)
    assert 'name="change_reason"' in page.content.decode()
    assert f'name="action" value="{action}"' in page.content.decode()
    assert "is required" in act(admin, action, cpu, change_reason="").content.decode()
    assert cpu.history.count() == before


def test_disabling_from_the_list_is_kept_with_its_reason(cast: Cast, admin: Client, cpu: Threshold) -> None:
    off = Threshold.objects.create(metric_id=metric("disk"), critical=90, enabled=False)
    assert "1 threshold disabled." in act(admin, "disable", cpu, off, change_reason="moving house").content.decode()
    cpu.refresh_from_db()
    assert not cpu.enabled
    version = cpu.history.latest()
    assert (version.history_user, version.history_change_reason) == (cast.superuser, "moving house")
    assert LogEntry.objects.get().object_id == str(cpu.pk), "the other one was off already"
    assert "2 thresholds enabled." in act(admin, "enable", cpu, off, change_reason="moved").content.decode()


def test_deleting_from_the_list_keeps_the_reason_of_each(admin: Client) -> None:
    both = list(Threshold.objects.filter(metric__name__in=["cpu", "memory"]))
    assert "2 thresholds deleted." in act(admin, "delete_chosen", *both, change_reason="a fresh start").content.decode()
    kept = Threshold.history.filter(history_type="-").values_list("history_change_reason", flat=True)
    assert list(kept) == ["a fresh start"] * 2


def test_there_is_no_way_round_the_reason(admin: Client, cpu: Threshold) -> None:
    act(admin, "delete_selected", cpu, post="yes")
    assert Threshold.objects.filter(pk=cpu.pk).exists()


def test_staff_who_may_only_look_change_nothing(cast: Cast, cpu: Threshold) -> None:
    clerk = person("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_threshold"))
    browser = sign_in(clerk)
    page = browser.get(f"{LIST}{cpu.pk}/change/")
    assert page.status_code == 200
    assert "change_reason" not in page.content.decode()
    act(browser, "disable", cpu, change_reason="no")
    assert browser.post(f"{LIST}{cpu.pk}/delete/", {"change_reason": "no"}).status_code == 403
    cpu.refresh_from_db()
    assert cpu.enabled


# --- What is refused, and where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"clear": 95}, "clear", "must not be more than the lowest limit, 90.0%"),
        ({"warning": 70, "clear": 80}, "clear", "must not be more than the lowest limit, 70.0%"),
        ({"direction": "below", "critical": 10, "clear": 5}, "clear", "not be less than the highest limit, 10.0%"),
        ({"critical": None, "clear": 5}, "clear", "There is no limit"),
        ({"clear": -1}, "clear", "Disk never gets there"),
        ({"direction": "below", "critical": 10, "clear": 101}, "clear", "Disk never gets there"),
        ({"warning": 95}, "warning", "must be less than critical, 90.0%"),
        ({"warning": 90}, "warning", "must be less than critical, 90.0%"),
        ({"direction": "below", "warning": 5, "critical": 10}, "warning", "must be more than critical, 10.0%"),
        ({"critical": 100}, "critical", "Disk is 100% at the most: this is never broken."),
        ({"critical": 250}, "critical", "never broken"),
        ({"critical": -5}, "critical", "Disk is 0.0% at the least: this is always broken."),
        ({"direction": "below", "critical": 0}, "critical", "Disk is 0.0% at the least: this is never broken."),
        ({"direction": "below", "critical": 101}, "critical", "always broken"),
        ({"critical": "nan"}, "critical", "Enter a number."),
        ({"warning": "-inf"}, "warning", "Enter a number."),
        ({"clear": "1e999"}, "clear", "Enter a number."),
        ({"critical": "high"}, "critical", "Enter a number."),
        ({"for_s": 20 * 86_400}, "for_s", "Samples are kept for 14 d only."),
        ({"for_s": 8 * 86_400}, "for_s", "Use at most 7 d."),
        ({"for_s": -1}, "for_s", "greater than or equal to 0"),
        ({"no_data_after_s": 5}, "no_data_after_s", "Use at least 20 s"),
        ({"no_data_after_s": 15 * 86_400}, "no_data_after_s", "Samples are kept"),
        ({"override_critical": 95}, "override_until", "Say until when"),
        ({"override_until_0": "2020-01-01", "override_until_1": "12:00"}, "override_until", "over already"),
        ({"override_until_0": "2999-01-01", "override_until_1": "12:00"}, "override_until", "at most a year"),
        ({"scope": "kind"}, "kind", "Say which kind"),
        ({"scope": "group"}, "group", "Say which group"),
        ({"scope": "server"}, "server", "Say which server"),
        ({"kind": "web"}, "kind", "Leave this empty: the scope is “All servers”."),
        ({"metric": None}, "metric", "required"),
        ({"direction": "sideways"}, "direction", "valid choice"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field(
    admin: Client, fields: dict[str, object], field: str, said: str
) -> None:
    assert said in errors(admin, **fields)[field]


def in_a_day() -> dict[str, str]:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return {"override_until_0": f"{tomorrow:%Y-%m-%d}", "override_until_1": "12:00"}


def test_an_override_that_changes_nothing_is_refused(admin: Client) -> None:
    assert "the same as always" in errors(admin, override_critical=90, **in_a_day())["override_until"]


def test_a_clearing_value_must_fit_the_limits_until_then_too(admin: Client) -> None:
    assert "50.0%" in errors(admin, clear=80, override_critical=50, **in_a_day())["clear"]


def test_an_override_that_is_over_is_forgotten_with_the_next_change(admin: Client, cpu: Threshold) -> None:
    over = timezone.now() - timedelta(hours=1)
    Threshold.objects.filter(pk=cpu.pk).update(override_until=over, override_critical=99)
    assert change(admin, cpu, critical=80).status_code == 302
    cpu.refresh_from_db()
    assert (cpu.critical, cpu.override_until, cpu.override_critical) == (80, None, None)


def test_a_second_one_of_the_same_scope_is_refused_with_a_link_to_the_first(admin: Client, cpu: Threshold) -> None:
    page = admin.post(ADD, asked(metric=cpu.metric_id))
    said = page.context["adminform"].form.errors["scope"]
    assert f'href="{LIST}{cpu.pk}/change/"' in str(said)
    assert f'<a href="{LIST}{cpu.pk}/change/"><bdi>CPU · above · All servers</bdi></a>' in page.content.decode()
    assert not page.context["adminform"].form.non_field_errors(), "said once"


def test_no_data_of_one_server_leaves_room_for_three_readings(cast: Cast, admin: Client) -> None:
    cast.server.sources.create(collector="prometheus", url="http://10.0.0.1/metrics", interval_s=60)
    fields = {"scope": "server", "server": cast.server.pk, "no_data_after_s": 100}
    assert "3 min" in errors(admin, **fields)["no_data_after_s"]


# --- What is allowed, and doubtful ------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(cast: Cast) -> Cast:
    """The server of the cast measures its disk: 97 %."""
    record([Frame.of(cast.server.pk, int(datetime.now(UTC).timestamp() * 1000), {"disk": 97.0})], origin="test")
    return cast


def added(admin: Client, **fields: object) -> list[str]:
    answer = admin.post(ADD, asked(**fields))
    assert answer.status_code == 302
    return warnings(answer)


def on_call_for_all(cast: Cast) -> None:
    rota = Rota.objects.create(starts_on="2026-01-01")
    RotaMember.objects.create(rota=rota, person=cast.owner)


def test_a_threshold_in_order_raises_no_doubt(full_disk: Cast, admin: Client) -> None:
    on_call_for_all(full_disk)
    assert added(admin) == []


def test_a_metric_that_nothing_measures_is_pointed_out(cast: Cast, admin: Client) -> None:
    assert added(admin) == ["No server that it covers measures Disk."]


def test_one_that_narrower_ones_shadow_is_pointed_out(full_disk: Cast, admin: Client) -> None:
    added(admin, scope="server", server=full_disk.server.pk)
    assert any("It decides nothing" in text for text in added(admin))


def test_servers_with_nobody_on_call_are_pointed_out(full_disk: Cast, admin: Client) -> None:
    assert added(admin) == ["Nobody on call can be mailed for: Web shop."]


def test_a_pair_that_leaves_no_healthy_value_is_pointed_out(full_disk: Cast, admin: Client) -> None:
    on_call_for_all(full_disk)
    added(admin, critical=20)
    (text,) = added(admin, direction="below", critical=80)
    assert "No value is healthy: more than 20.0% is broken by one, less than 80.0% by the other:" in text


def test_no_data_shorter_than_three_readings_names_the_servers(full_disk: Cast, admin: Client) -> None:
    on_call_for_all(full_disk)
    full_disk.server.sources.create(collector="prometheus", url="http://10.0.0.1/metrics", interval_s=60)
    assert added(admin, no_data_after_s=100) == [
        "“No data” after 1 min 40 s is less than three readings of: shop-web-1."
    ]


def test_an_exemption_is_called_one(full_disk: Cast, admin: Client) -> None:
    on_call_for_all(full_disk)
    nothing = {"scope": "group", "group": full_disk.group.pk, "critical": None}
    assert added(admin, **nothing) == ["It has no limit and there is no wider threshold: it does nothing."]
    Threshold.objects.create(metric_id=metric("disk"), critical=90)
    page = admin.get(f"{LIST}{Threshold.objects.get(scope='group').pk}/change/").content.decode()
    assert "its servers are exempt from the wider thresholds" in page


# --- The facts beside it, and the list --------------------------------------------------------------------------------


def test_the_facts_say_for_whom_it_decides_and_who_wins_elsewhere(full_disk: Cast, admin: Client) -> None:
    other = Server.objects.create(name="shop-web-2", group=full_disk.group)
    record([Frame.of(other.pk, int(datetime.now(UTC).timestamp() * 1000), {"disk": 12.0})], origin="test")
    wide = Threshold.objects.create(metric_id=metric("disk"), critical=90)
    narrow = Threshold.objects.create(metric_id=metric("disk"), scope="server", server=other, critical=99)
    page = admin.get(f"{LIST}{wide.pk}/change/").content.decode()
    assert "2 in its scope, 2 measure it, for 1 it decides" in page
    assert f'<a href="{LIST}{narrow.pk}/change/"><bdi>shop-web-2</bdi></a>' in page
    assert "97.0%" in page
    assert "12.0%" not in page, "another one is the rule there"
    page = admin.get(f"{LIST}{narrow.pk}/change/").content.decode()
    assert f'<a href="{LIST}{wide.pk}/change/"><bdi>Disk · above · All servers</bdi></a>' in page


def firing(server: Server, threshold: Threshold) -> Incident:
    now = timezone.now()
    incident = Incident.objects.create(
        server=server,
        server_name=server.name,
        group=server.group,
        status="firing",
        level="critical",
        peak_level="critical",
        began_at=now,
    )
    Problem.objects.create(
        incident=incident,
        server=server,
        series=server.series.get(metric=threshold.metric_id),
        threshold=threshold,
        condition=Condition.ABOVE,
        metric=threshold.metric.name,
        status="firing",
        level="critical",
        began_at=now,
    )
    return incident


def test_the_list_counts_what_it_decides_and_what_fires(full_disk: Cast, admin: Client) -> None:
    wide = Threshold.objects.create(metric_id=metric("disk"), critical=90)
    firing(full_disk.server, wide)
    page = admin.get(f"{LIST}?q=disk").content.decode()
    assert '<td class="field-decides">1</td>' in page
    assert '<strong class="is-firing">1</strong>' in page
    assert "above 90.0% critical" in page
    narrow = Threshold.objects.create(metric_id=metric("disk"), scope="kind", kind="host", critical=99)
    rows = {one.pk: one.decides for one in admin.get(LIST).context["cl"].result_list}
    assert (rows[wide.pk], rows[narrow.pk]) == (0, 1)


def test_the_facts_link_to_open_problems(full_disk: Cast, admin: Client) -> None:
    wide = Threshold.objects.create(metric_id=metric("disk"), critical=90)
    incident = firing(full_disk.server, wide)
    assert f'href="/alerts/{incident.pk}/"' in admin.get(f"{LIST}{wide.pk}/change/").content.decode()


def test_a_name_that_turns_the_writing_round_turns_only_itself(full_disk: Cast, admin: Client) -> None:
    wide = Threshold.objects.create(metric_id=metric("disk"), critical=90)
    full_disk.server.name = "\N{RIGHT-TO-LEFT OVERRIDE}evil"
    full_disk.server.save(update_fields=["name"])
    incident = firing(full_disk.server, wide)
    page = admin.get(f"{LIST}{wide.pk}/change/").content.decode()
    assert f"<bdi>{full_disk.server}</bdi>" in page
    assert f"<bdi>{incident}</bdi>" in page


def test_an_override_is_said_in_plain_words(admin: Client, cpu: Threshold) -> None:
    until = datetime(2099, 5, 1, 12, 30, tzinfo=UTC)
    Threshold.objects.filter(pk=cpu.pk).update(override_until=until)
    page = admin.get(f"{LIST}{cpu.pk}/change/").content.decode()
    assert "Until 2099-05-01 12:30 UTC it does not alert, whatever the value is." in page
    Threshold.objects.filter(pk=cpu.pk).update(override_warning=95)
    page = admin.get(f"{LIST}{cpu.pk}/change/").content.decode()
    assert "Until 2099-05-01 12:30 UTC other limits count: above 95.0% warning." in page
    assert "2099-05-01 12:30 UTC" in admin.get(f"{LIST}?overridden=1").content.decode()
    assert admin.get(f"{LIST}?overridden=0").context["cl"].result_count == Threshold.objects.count() - 1


def _grow(cast: Cast, count: int) -> None:
    start = Server.objects.count()
    at_ms = int(datetime.now(UTC).timestamp() * 1000)
    for n in range(start, start + count):
        group = ServerGroup.objects.create(name=f"group {n}")
        server = Server.objects.create(name=f"server {n}", group=group)
        record([Frame.of(server.pk, at_ms, {"disk": 50.0})], origin="test")
        Threshold.objects.create(metric_id=metric("disk"), scope="server", server=server, critical=90)
        Threshold.objects.create(metric_id=metric("disk"), scope="group", group=group, critical=90)


def test_the_list_costs_the_same_for_one_row_and_for_many(
    cast: Cast, admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    _grow(cast, 1)
    with django_assert_max_num_queries(20) as few:
        admin.get(LIST)
    _grow(cast, 10)
    with django_assert_max_num_queries(len(few.captured_queries)):
        admin.get(LIST)


def test_one_threshold_costs_the_same_for_one_server_and_for_many(
    cast: Cast, admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    wide = Threshold.objects.create(metric_id=metric("disk"), critical=90)
    _grow(cast, 1)
    admin.get(f"{LIST}{wide.pk}/change/")
    with django_assert_max_num_queries(40) as few:
        admin.get(f"{LIST}{wide.pk}/change/")
    _grow(cast, 10)
    with django_assert_max_num_queries(len(few.captured_queries)):
        admin.get(f"{LIST}{wide.pk}/change/")


def test_a_refused_form_leaves_the_facts_as_they_are(full_disk: Cast, admin: Client) -> None:
    narrow = Threshold.objects.create(metric_id=metric("disk"), scope="server", server=full_disk.server, critical=90)
    page = admin.post(f"{LIST}{narrow.pk}/change/", {"scope": "server"})
    assert page.status_code == 200
    assert "1 in its scope, 1 measure it, for 1 it decides" in page.content.decode()


def test_the_history_of_one_whose_server_is_gone_still_opens(cast: Cast, admin: Client) -> None:
    narrow = Threshold.objects.create(metric_id=metric("disk"), scope="server", server=cast.server, critical=90)
    pk = narrow.pk
    cast.server.delete()
    assert "deleted" in admin.get(f"{LIST}{pk}/history/").content.decode()
    version = Threshold.history.filter(id=pk).earliest()
    at = reverse("admin:alerts_threshold_simple_history", args=[pk, version.pk])
    assert admin.get(at).status_code == 200
    page = admin.post(at, asked(scope="server", server=version.server_id))
    assert "valid choice" in " ".join(page.context["adminform"].form.errors["server"])


def test_the_list_chooses_as_the_evaluator_does(cast: Cast) -> None:
    """The database counts what `winners` decides, server by server."""
    kinds = ["web", "database", "web", "host"]
    groups = [cast.group, cast.elsewhere, cast.elsewhere, cast.group]
    servers = [
        Server.objects.create(name=f"server {n}", kind=kind, group=group)
        for n, (kind, group) in enumerate(zip(kinds, groups, strict=True))
    ]
    at_ms = int(datetime.now(UTC).timestamp() * 1000)
    record([Frame.of(one.pk, at_ms, {"disk": 50.0, "cpu": 1.0}) for one in servers], origin="test")
    for fields in (
        {},
        {"direction": "below", "critical": 1},
        {"scope": "kind", "kind": "web"},
        {"scope": "group", "group": cast.elsewhere},
        {"scope": "server", "server": servers[3]},
        {"scope": "server", "server": servers[0], "enabled": False},
    ):
        Threshold.objects.create(**{"metric_id": metric("disk"), "critical": 90} | fields)
    thresholds = list(Threshold.objects.all())
    expected = Counter(winner.pk for one in servers for winner in winners(thresholds, one).values())
    for unmeasured in Threshold.objects.exclude(metric__name__in=["cpu", "disk"]):
        expected.pop(unmeasured.pk)
    assert decided_series(thresholds) == expected
