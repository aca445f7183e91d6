"""The password of a source: typed once, encrypted, sent to nobody else, and never shown again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse

from monitoring.collectors import http
from monitoring.collectors.base import CollectError
from monitoring.collectors.options import secret_of
from monitoring.models import Source
from portal.toolkit.secrets import seal, unseal
from tests.cast import Cast, make_cast, sign_in
from tests.toolkit.server import page, serving

pytestmark = pytest.mark.django_db

SECRET = "Tr0ub4dor&3"
ADD = "admin:monitoring_source_add"


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


def form(cast: Cast, **fields: Any) -> dict[str, Any]:
    usual = {"server": cast.server.pk, "collector": "http", "url": "https://192.0.2.7/health"}
    usual |= {"interval_s": 15, "timeout_s": 10, "sample_limit": 5000, "http_verify": "on", "http_method": "GET"}
    return usual | fields


def change(source: Source) -> str:
    return reverse("admin:monitoring_source_change", args=[source.pk])


def add(admin: Client, cast: Cast, **fields: Any) -> Source:
    answer = admin.post(reverse(ADD), form(cast, **fields))
    assert answer.status_code == 302, re.findall(r"errorlist[^>]*><li>([^<]*)", answer.content.decode())
    return Source.objects.get()


def errors_of(answer: Any) -> list[str]:
    return re.findall(r'<ul class="errorlist"[^>]*>\s*<li>([^<]*)', answer.content.decode())


def test_a_password_in_its_field_is_kept_encrypted(admin: Client, cast: Cast) -> None:
    source = add(admin, cast, secret=SECRET)
    assert SECRET not in source.sealed_secret
    assert unseal(source.sealed_secret) == SECRET


def test_a_password_in_the_url_is_taken_out_of_it(admin: Client, cast: Cast) -> None:
    source = add(admin, cast, url="https://ann:Tr0ub4dor%263@192.0.2.7/health")
    assert source.url == "https://ann@192.0.2.7/health"
    assert unseal(source.sealed_secret) == SECRET


def test_it_is_never_shown_again_anywhere(admin: Client, cast: Cast) -> None:
    source = add(admin, cast, secret=SECRET, url="https://ann@192.0.2.7/health")
    admin.post(change(source), form(cast, url="https://ann@192.0.2.7/health", interval_s=30))
    source.refresh_from_db()
    assert unseal(source.sealed_secret) == SECRET, "left empty it stays"
    pages = [
        change(source),
        reverse("admin:monitoring_source_history", args=[source.pk]),
        reverse("admin:monitoring_source_changelist"),
        reverse("admin:monitoring_server_change", args=[cast.server.pk]),
        reverse("monitoring:server", args=[cast.server.pk]),
    ]
    pages += [f"{pages[1]}{version.pk}/" for version in source.history.all()]
    for address in pages:
        shown = admin.get(address).content.decode()
        assert SECRET not in shown, address
        assert source.sealed_secret not in shown, address
    assert "One is kept. Type another to replace it." in admin.get(change(source)).content.decode()
    assert SECRET not in repr(source) + str(source) + "".join(entry.change_message for entry in LogEntry.objects.all())
    assert SECRET not in everything_of_the_history()
    assert "sealed_secret" not in everything_of_the_history()


def everything_of_the_history() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(json_agg(t)::text, '') FROM monitoring_historicalsource t")
        row = cursor.fetchone()
    return str(row[0])


def test_a_form_that_is_refused_does_not_show_it_either(admin: Client, cast: Cast) -> None:
    refused = admin.post(reverse(ADD), form(cast, url=f"https://ann:{SECRET}@192.0.2.7/", interval_s=1))
    assert SECRET not in refused.content.decode()
    assert "What you typed here is not shown again: type it once more." in errors_of(refused)


def test_a_password_whose_end_is_unclear_is_refused_and_not_shown(admin: Client, cast: Cast) -> None:
    refused = admin.post(reverse(ADD), form(cast, url="https://ann:half/other-half@192.0.2.7/"))
    assert "other-half" not in refused.content.decode()
    assert any("%2F" in error for error in errors_of(refused))
    assert not Source.objects.exists()


def test_it_can_be_replaced_and_removed(admin: Client, cast: Cast) -> None:
    source = add(admin, cast, secret=SECRET)
    admin.post(change(source), form(cast, secret="another"))
    source.refresh_from_db()
    assert unseal(source.sealed_secret) == "another"
    admin.post(change(source), form(cast, forget_secret="on"))
    source.refresh_from_db()
    assert source.sealed_secret == ""


@pytest.mark.parametrize(
    "moved",
    [
        {"url": "https://evil.example/health"},
        {"url": "http://192.0.2.7/health"},
        {"url": "https://bob@192.0.2.7/health"},
        {"collector": "prometheus"},
    ],
)
def test_it_does_not_go_to_another_address_without_being_typed_again(
    admin: Client, cast: Cast, moved: dict[str, str]
) -> None:
    source = add(admin, cast, secret=SECRET)
    refused = admin.post(change(source), form(cast, **moved))
    assert "The kept password belongs to the former address: type it again, or remove it." in errors_of(refused)
    source.refresh_from_db()
    assert source.url == "https://192.0.2.7/health"


def test_another_page_of_the_same_server_needs_no_new_one(admin: Client, cast: Cast) -> None:
    source = add(admin, cast, secret=SECRET)
    admin.post(change(source), form(cast, url="https://192.0.2.7/other?page=1"))
    source.refresh_from_db()
    assert (source.url, unseal(source.sealed_secret)) == ("https://192.0.2.7/other?page=1", SECRET)


def test_a_key_that_is_gone_is_an_error_in_words(settings: Any) -> None:
    source = Source(url="https://192.0.2.7/", collector="http", sealed_secret=seal(SECRET))
    settings.ENCRYPTION_KEYS = ["another key than before"]
    with pytest.raises(CollectError, match="names no more: type it again"):
        secret_of(source)


@pytest.mark.usefixtures("loopback_is_allowed")
def test_no_error_and_no_log_of_a_run_shows_it(caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    with serving(page("no", "text/plain")) as server:
        source = Source(pk=1, url=server.url.replace("//", "//ann@"), sealed_secret=seal(SECRET), timeout_s=2)
        source.options = {"contains": "yes"}
        collected = http.collect(source, 0)
    assert SECRET not in collected.complaint + caplog.text + capsys.readouterr().out


# --- Options ----------------------------------------------------------------------------------------------------------
def test_the_options_of_the_chosen_collector_are_stored_and_those_of_others_are_not(admin: Client, cast: Cast) -> None:
    source = add(admin, cast, http_statuses="200, 204", http_contains="shop", postgres_slow_ms=5, tcp_banner="220")
    assert source.options == {
        "name": "",
        "method": "GET",
        "statuses": "200, 204",
        "contains": "shop",
        "lacks": "",
        "headers": "",
        "verify": True,
    }
    shown = admin.get(change(source)).content.decode()
    assert 'value="200, 204"' in shown


def test_what_is_wrong_with_an_option_is_said_beside_it(admin: Client, cast: Cast) -> None:
    refused = admin.post(reverse(ADD), form(cast, http_statuses="many", http_headers="Authorization: Bearer x"))
    said = " ".join(errors_of(refused))
    assert "like 200-399, 418" in said
    assert "into the password field" in said


def test_what_is_wrong_with_another_collectors_option_does_not_matter(admin: Client, cast: Cast) -> None:
    assert add(admin, cast, postgres_slow_ms="often").options["method"] == "GET"


def test_a_password_for_a_collector_that_has_none_is_refused(admin: Client, cast: Cast) -> None:
    refused = admin.post(reverse(ADD), form(cast, collector="tcp", url="tcp://192.0.2.7:22", secret=SECRET))
    assert "This kind of source is read without a password." in errors_of(refused)


def test_a_source_is_added_beside_its_server_too(admin: Client, cast: Cast) -> None:
    row = form(cast, secret=SECRET, http_contains="shop")
    fields = {f"sources-0-{name}": value for name, value in row.items()}
    fields |= {"sources-TOTAL_FORMS": 1, "sources-INITIAL_FORMS": 0}
    fields |= {"name": "shop-web-1", "kind": "web", "group": cast.group.pk}
    answer = admin.post(reverse("admin:monitoring_server_change", args=[cast.server.pk]), fields)
    assert answer.status_code == 302, errors_of(answer)
    source = Source.objects.get()
    assert (unseal(source.sealed_secret), source.options["contains"]) == (SECRET, "shop")


def test_a_source_is_added_with_a_new_server(admin: Client, cast: Cast) -> None:
    fields = {f"sources-0-{name}": value for name, value in form(cast, server="", secret=SECRET).items()}
    fields |= {"sources-TOTAL_FORMS": 1, "sources-INITIAL_FORMS": 0}
    fields |= {"name": "shop", "kind": "service", "group": cast.group.pk}
    answer = admin.post(reverse("admin:monitoring_server_add"), fields)
    assert answer.status_code == 302, errors_of(answer)
    assert Source.objects.get().server.name == "shop"


def test_two_checks_of_one_server_need_names(admin: Client, cast: Cast) -> None:
    add(admin, cast)
    second = {"collector": "tcp", "url": "tcp://192.0.2.7:22"}
    refused = admin.post(reverse(ADD), form(cast, **second))
    assert "This server has a check without a name: give this one a name." in errors_of(refused)
    assert admin.post(reverse(ADD), form(cast, **second, tcp_name="ssh")).status_code == 302
    assert [source.options["name"] for source in Source.objects.order_by("pk")] == ["", "ssh"]
