"""How long history is kept, as an admin says it."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring.history.compact import compact_due
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Retention
from portal.toolkit.instants import from_ms
from tests.cast import Cast, make_cast, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

ADD, LIST = reverse("admin:monitoring_retention_add"), reverse("admin:monitoring_retention_changelist")
DAYS = {"samples_days": 30, "minutes_days": 90, "quarters_days": 400, "hours_days": 1826, "logs_days": 30}


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


def test_a_group_gets_a_retention_of_its_own_and_its_history_says_who_changed_it(cast: Cast, admin: Client) -> None:
    admin.post(ADD, {"group": cast.group.pk, **DAYS})
    row = Retention.objects.get(group=cast.group)
    change = reverse("admin:monitoring_retention_change", args=[row.pk])
    admin.post(change, {"group": cast.group.pk, **DAYS, "samples_days": 60})
    assert [(then.samples_days, then.history_user) for then in row.history.all()] == [
        (60, cast.superuser),
        (30, cast.superuser),
    ]


def test_without_a_row_the_page_says_what_the_settings_say(admin: Client) -> None:
    said = admin.get(LIST).content.decode()
    assert "keep samples for 14 days" in said
    assert "lines of logs for 30" in said
    form = admin.get(ADD).content.decode()
    assert 'value="14"' in form
    assert 'name="logs_days" value="30"' in form


@pytest.mark.parametrize(
    ("field", "days", "said"),
    [
        ("minutes_days", 29, "At least 30"),
        ("quarters_days", 89, "At least 90"),
        ("hours_days", 399, "At least 400"),
        ("samples_days", 0, "greater than or equal to 1"),
        ("logs_days", 0, "greater than or equal to 1"),
    ],
)
def test_days_that_make_no_sense_are_refused_at_their_field(
    cast: Cast, admin: Client, field: str, days: int, said: str
) -> None:
    answer = admin.post(ADD, {"group": cast.group.pk, **DAYS, field: days})
    assert said in str(answer.context["adminform"].form.errors[field])
    assert not Retention.objects.exists()


def test_there_is_one_row_for_all_other_groups(admin: Client) -> None:
    admin.post(ADD, {"group": "", **DAYS})
    answer = admin.post(ADD, {"group": "", **DAYS})
    assert answer.context["adminform"].form.errors == {"group": ["There is a row for all other groups already."]}


def test_who_shortens_it_is_told_that_what_leaves_does_not_come_back(cast: Cast, admin: Client) -> None:
    page = admin.post(ADD, {"group": cast.group.pk, **DAYS, "samples_days": 2}, follow=True).content.decode()
    assert "of 1 server, and does not come back" in page


def test_who_lengthens_it_is_told_that_nothing_comes_back(cast: Cast, admin: Client) -> None:
    page = admin.post(ADD, {"group": cast.group.pk, **DAYS}, follow=True).content.decode()
    assert "what has left already does not come back" in page


def test_beside_the_form_stands_what_there_is(cast: Cast, admin: Client) -> None:
    midnight = int(timezone.now().timestamp() * 1000) // 86_400_000 * 86_400_000
    record([Frame.of(cast.server.pk, midnight - 86_400_000 + at, {"cpu": 1.0}) for at in range(1000)], origin="test")
    Batch.objects.update(evaluated_at=timezone.now())
    seal_due(timezone.now())
    compact_due(timezone.now())
    row = Retention.objects.create(group=cast.group, **DAYS)
    page = admin.get(reverse("admin:monitoring_retention_change", args=[row.pk])).content.decode()
    oldest = timezone.localtime(from_ms(midnight - 86_400_000))
    for fact in ("1 server", "1,000", f"{oldest:%Y-%m-%d %H:%M}"):
        assert fact in page


def test_a_portal_without_any_history_has_a_page_too(cast: Cast, admin: Client) -> None:
    row = Retention.objects.create(group=None, **DAYS)
    assert admin.get(reverse("admin:monitoring_retention_change", args=[row.pk])).status_code == 200
