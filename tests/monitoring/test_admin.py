from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks
from redis.client import PubSub

from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import (
    Membership,
    Role,
    Series,
    Server,
    ServerGroup,
    ServerState,
    ServerTemplate,
    Simulation,
    Source,
)
from portal.toolkit.redis import client as redis
from tests.cast import Cast, make_cast, person, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


def act(admin: Client, model: str, action: str, *rows: object) -> str:
    """Choose `rows` in the list of `model` and run `action`; what the page then says."""
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return admin.post(reverse(f"admin:{model}_changelist"), chosen, follow=True).content.decode()


def test_pausing_from_the_list_says_so_at_once_and_who_did_it(cast: Cast, admin: Client) -> None:
    other = Server.objects.create(name="other", group=cast.group, paused=True)
    assert "1 server paused." in act(admin, "monitoring_server", "pause", cast.server, other)
    cast.server.refresh_from_db()
    assert (cast.server.paused, cast.server.state) == (True, ServerState.PAUSED)
    version = cast.server.history.latest()
    assert (version.history_user, version.history_change_reason) == (cast.superuser, "Paused from the list.")
    assert version.diff_against(version.prev_record).changed_fields == ["paused"]
    assert LogEntry.objects.get().object_id == str(cast.server.pk), "the other one was paused already"


def test_resuming_waits_for_data(cast: Cast, admin: Client) -> None:
    act(admin, "monitoring_server", "pause", cast.server)
    act(admin, "monitoring_server", "resume", cast.server)
    cast.server.refresh_from_db()
    assert (cast.server.paused, cast.server.state) == (False, ServerState.UNKNOWN)


def test_pausing_in_the_form_shows_too(cast: Cast, admin: Client) -> None:
    form = {"name": "shop-web-1", "kind": "web", "group": cast.group.pk, "paused": "on"}
    form |= {"sources-TOTAL_FORMS": 0, "sources-INITIAL_FORMS": 0}
    answer = admin.post(reverse("admin:monitoring_server_change", args=[cast.server.pk]), form)
    assert answer.status_code == 302
    cast.server.refresh_from_db()
    assert cast.server.state == ServerState.PAUSED
    assert cast.server.history.latest().history_user == cast.superuser


def test_the_form_cannot_set_a_state(cast: Cast, admin: Client) -> None:
    form = {"name": "shop-web-1", "kind": "web", "group": cast.group.pk, "state": "healthy", "state_reason": "fine"}
    form |= {"sources-TOTAL_FORMS": 0, "sources-INITIAL_FORMS": 0}
    admin.post(reverse("admin:monitoring_server_change", args=[cast.server.pk]), form)
    cast.server.refresh_from_db()
    assert (cast.server.kind, cast.server.state, cast.server.state_reason) == ("web", ServerState.UNKNOWN, "")


def test_the_newest_values_stand_beside_the_server(cast: Cast, admin: Client) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    record([Frame.of(cast.server.pk, now_ms, {"cpu": 42.5, "net_rx": 7.0})], origin="test")
    page = admin.get(reverse("admin:monitoring_server_change", args=[cast.server.pk])).content.decode()
    assert "42.5 %" in page
    assert page.index("CPU") < page.index("Network in")


def test_values_of_a_series_that_is_not_known_are_left_out(cast: Cast, admin: Client) -> None:
    """What Redis kept of a database that was replaced meanwhile."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    record([Frame.of(cast.server.pk, now_ms, {"cpu": 42.5, "memory": 7.25})], origin="test")
    Series.objects.filter(metric__name="memory").delete()
    page = admin.get(reverse("admin:monitoring_server_change", args=[cast.server.pk])).content.decode()
    assert "42.5 %" in page
    assert "7.25" not in page


@pytest.fixture
def source(cast: Cast) -> Source:
    later = datetime(2100, 1, 1, tzinfo=UTC)
    return Source.objects.create(
        server=cast.server, collector="prometheus", url="http://10.0.0.1:9100/metrics", due_at=later, failures=7
    )


def test_a_source_is_collected_now_whatever_its_back_off(admin: Client, source: Source) -> None:
    assert "1 source is read next." in act(admin, "monitoring_source", "collect_now", source)
    source.refresh_from_db()
    assert source.due_at <= datetime.now(UTC)


def test_a_paused_source_is_not_collected_now(admin: Client, source: Source) -> None:
    act(admin, "monitoring_source", "pause", source)
    assert source.history.latest().history_change_reason == "Paused from the list."
    assert "0 sources are read next." in act(admin, "monitoring_source", "collect_now", source)
    source.refresh_from_db()
    assert (source.paused, source.due_at.year) == (True, 2100)


@pytest.mark.parametrize("inline", [True, False], ids=["beside its server", "by itself"])
def test_a_corrected_source_is_read_next_whatever_its_back_off(
    cast: Cast, admin: Client, source: Source, inline: bool
) -> None:
    fields = {"collector": "prometheus", "url": "http://10.0.0.2:9100/metrics"}
    fields |= {"interval_s": 15, "timeout_s": 10, "sample_limit": 5000, "server": cast.server.pk}
    if inline:
        form = {f"sources-0-{name}": value for name, value in fields.items()} | {"sources-0-id": source.pk}
        form |= {"sources-TOTAL_FORMS": 1, "sources-INITIAL_FORMS": 1}
        form |= {"name": "shop-web-1", "kind": "host", "group": cast.group.pk}
        answer = admin.post(reverse("admin:monitoring_server_change", args=[cast.server.pk]), form)
    else:
        answer = admin.post(reverse("admin:monitoring_source_change", args=[source.pk]), fields)
    assert answer.status_code == 302
    source.refresh_from_db()
    assert source.url == "http://10.0.0.2:9100/metrics"
    assert source.due_at <= datetime.now(UTC)


def test_a_source_on_the_portals_own_machine_is_refused_in_words_beside_the_field(cast: Cast, admin: Client) -> None:
    form = {"server": cast.server.pk, "collector": "prometheus", "url": "http://127.0.0.1:9100/metrics"}
    form |= {"interval_s": 15, "timeout_s": 10, "sample_limit": 5000}
    page = admin.post(reverse("admin:monitoring_source_add"), form).content.decode()
    assert "loopback" in page
    assert not Source.objects.exists()


def test_a_name_of_markup_is_shown_and_not_run(cast: Cast, admin: Client) -> None:
    Server.objects.create(name="<script>alert(1)</script>", group=cast.group)
    page = admin.get(reverse("admin:monitoring_server_changelist")).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("name", ["web-1\r\nBcc: all@example.org", "web\x1b[31m-1", "web\t1"])
def test_a_name_of_several_lines_is_refused_in_words(cast: Cast, admin: Client, name: str) -> None:
    sources = {f"sources-{part}": "0" for part in ("TOTAL_FORMS", "INITIAL_FORMS")}
    form = {"name": name, "kind": "host", "group": cast.group.pk, **sources}
    answer = admin.post(reverse("admin:monitoring_server_add"), form).content.decode()
    assert "Line breaks and control characters cannot be part of a name." in answer
    assert Server.objects.count() == 1


def test_a_group_with_servers_says_why_it_stays(cast: Cast, admin: Client) -> None:
    page = admin.post(reverse("admin:monitoring_servergroup_delete", args=[cast.group.pk]), {"post": "yes"})
    assert "shop-web-1" in page.content.decode()
    assert "protected" in page.content.decode()
    act(admin, "monitoring_servergroup", "delete_selected", cast.group)
    assert ServerGroup.objects.filter(pk=cast.group.pk).exists()


def test_an_empty_group_goes_with_its_memberships_and_leaves_their_history(cast: Cast, admin: Client) -> None:
    admin.post(reverse("admin:monitoring_servergroup_delete", args=[cast.elsewhere.pk]), {"post": "yes"})
    assert not ServerGroup.objects.filter(pk=cast.elsewhere.pk).exists()
    gone = Membership.history.filter(user=cast.stranger).latest()
    assert (gone.history_type, gone.history_user) == ("-", cast.superuser)


def test_a_changed_role_is_kept_with_before_and_after(cast: Cast, admin: Client) -> None:
    membership = Membership.objects.get(user=cast.reader)
    form = {
        "name": cast.group.name,
        "memberships-TOTAL_FORMS": 1,
        "memberships-INITIAL_FORMS": 1,
        "memberships-0-id": membership.pk,
        "memberships-0-group": cast.group.pk,
        "memberships-0-user": cast.reader.pk,
        "memberships-0-role": Role.OPERATOR,
    }
    answer = admin.post(reverse("admin:monitoring_servergroup_change", args=[cast.group.pk]), form)
    assert answer.status_code == 302
    version = membership.history.latest()
    (change,) = version.diff_against(version.prev_record).changes
    assert (change.field, change.old, change.new) == ("role", "viewer", "operator")
    assert version.history_user == cast.superuser


def test_the_history_page_says_who_what_and_why(cast: Cast, admin: Client) -> None:
    act(admin, "monitoring_server", "pause", cast.server)
    page = admin.get(reverse("admin:monitoring_server_history", args=[cast.server.pk])).content.decode()
    assert "<strong>Paused</strong>: <del>False</del> → <ins>True</ins>" in page
    assert "Paused from the list." in page
    assert "superuser" in page


def test_an_older_version_can_be_brought_back(cast: Cast, admin: Client) -> None:
    cast.server.description = "changed"
    cast.server.save(update_fields=["description"])
    first = cast.server.history.earliest()
    at = reverse("admin:monitoring_server_simple_history", args=[cast.server.pk, first.pk])
    form = {"name": "shop-web-1", "kind": "host", "group": cast.group.pk, "description": "the-private-note"}
    assert "the-private-note" in admin.get(at).content.decode()
    admin.post(at, form)
    cast.server.refresh_from_db()
    assert cast.server.description == "the-private-note"


def test_the_simulation_is_one_switch(cast: Cast, admin: Client) -> None:
    Simulation.objects.get_or_create(pk=1)
    switch = admin.get(reverse("admin:monitoring_simulation_changelist"))["Location"]
    assert switch == reverse("admin:monitoring_simulation_change", args=[1])
    admin.post(switch, {"paused": "on"})
    simulation = Simulation.objects.get()
    assert simulation.paused
    assert simulation.history.latest().history_user == cast.superuser
    assert admin.post(switch.replace("change", "delete"), {"post": "yes"}).status_code == 403


PROFILE = '{"cpu": {"base": 20, "daily": 5, "weekly": 1, "noise": 2.5}}'


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("{}", "This field is required"),
        ("[1]", "Use one entry per metric"),
        (PROFILE.replace("cpu", "cpus"), "cpus"),
        (PROFILE.replace("daily", "dayly"), "“cpu” needs these numbers"),
        (PROFILE.replace("20", '"20"'), "“cpu” needs these numbers"),
        (PROFILE.replace("20", "1e999"), "“cpu” needs these numbers"),
        ('{"cpu": 20}', "“cpu” needs these numbers"),
    ],
)
def test_a_template_that_could_not_be_generated_is_refused_in_words(admin: Client, profile: str, said: str) -> None:
    form = {"name": "odd", "kind": "web", "profile": profile}
    page = admin.post(reverse("admin:monitoring_servertemplate_add"), form)
    assert page.status_code == 200
    assert said in " ".join(page.context["adminform"].form.errors["profile"])
    assert not ServerTemplate.objects.exists()


def test_what_a_template_depends_on_is_kept_in_its_history(admin: Client) -> None:
    web, database = (ServerTemplate.objects.create(name=n, kind=n, profile={}) for n in ("web", "database"))
    form = {"name": "web", "kind": "web", "profile": PROFILE, "depends_on": [database.pk]}
    assert admin.post(reverse("admin:monitoring_servertemplate_change", args=[web.pk]), form).status_code == 302
    assert web.history.latest().depends_on.get().to_servertemplate == database


def test_staff_may_do_what_they_were_given_and_no_more(cast: Cast) -> None:
    clerk = person("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_server"))
    browser = sign_in(clerk)
    assert "shop-web-1" in browser.get(reverse("admin:monitoring_server_changelist")).content.decode()
    assert browser.get(reverse("admin:monitoring_source_changelist")).status_code == 403
    act(browser, "monitoring_server", "pause", cast.server)
    cast.server.refresh_from_db()
    assert not cast.server.paused


@pytest.mark.parametrize("model", ["server", "source", "servergroup", "servertemplate", "metric"])
def test_a_list_costs_the_same_for_one_row_and_for_many(
    cast: Cast, admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries, model: str
) -> None:
    page = reverse(f"admin:monitoring_{model}_changelist")
    _grow(cast, 1)
    with django_assert_max_num_queries(50) as few:
        admin.get(page)
    _grow(cast, 20)
    with django_assert_max_num_queries(len(few.captured_queries)):
        admin.get(page)


def _grow(cast: Cast, count: int) -> None:
    start = Server.objects.count()
    for n in range(start, start + count):
        group = ServerGroup.objects.create(name=f"group {n}")
        Membership.objects.create(user=cast.reader, group=group)
        template = ServerTemplate.objects.create(name=f"template-{n}", kind="web", profile={})
        server = Server.objects.create(name=f"server {n}", group=group, template=template)
        Source.objects.create(server=server, collector="prometheus", url="http://10.0.0.1/metrics")


@pytest.fixture
def orders() -> PubSub:
    """What open sockets are told, from here on."""
    listener = redis().pubsub(ignore_subscribe_messages=True)
    listener.subscribe("live:control")
    while listener.get_message(timeout=0.1) is not None or not listener.subscribed:
        pass
    return listener


def _next(orders: PubSub) -> bytes:
    message = None
    for _ in range(20):
        message = message or orders.get_message(timeout=0.1)
    assert message is not None
    data: bytes = message["data"]
    return data


@pytest.mark.parametrize(
    "change",
    [
        lambda cast: Membership.objects.get(user=cast.reader).delete(),
        lambda cast: Membership.objects.get(user=cast.reader).save(),
        lambda cast: Membership.objects.create(user=cast.reader, group=cast.elsewhere),
        lambda cast: _switch_off(cast),
    ],
    ids=["left", "changed role", "joined", "switched off"],
)
def test_open_sockets_look_again_after_the_commit(
    cast: Cast,
    orders: PubSub,
    change: Callable[[Cast], object],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks() as after_commit:
        change(cast)
    assert orders.get_message(timeout=0.1) is None, "not before the commit"
    for callback in after_commit:
        callback()
    assert _next(orders) == b'{"recheck_user": %d}' % cast.reader.pk


def _switch_off(cast: Cast) -> None:
    cast.reader.is_active = False
    cast.reader.save(update_fields=["is_active"])


def test_a_new_language_disturbs_no_socket(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as after_commit:
        cast.reader.language = "ko"
        cast.reader.save(update_fields=["language"])
    assert after_commit == []
