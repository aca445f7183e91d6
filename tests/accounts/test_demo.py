from __future__ import annotations

import pytest
from django.test import Client

from portal.accounts.demo import ensure_demo_account
from portal.accounts.models import User

pytestmark = pytest.mark.django_db


def test_the_demo_account_signs_in_and_may_use_the_admin(client: Client) -> None:
    ensure_demo_account("demo", "first password")
    client.post("/accounts/login/", {"login": "demo", "password": "first password"})
    assert client.get("/admin/").status_code == 200


def test_a_second_start_keeps_sessions_and_a_new_password_ends_them(client: Client) -> None:
    client.force_login(ensure_demo_account("demo", "first password"))
    ensure_demo_account("demo", "first password")
    assert client.get("/admin/").status_code == 200
    ensure_demo_account("demo", "second password")
    assert client.get("/admin/").status_code == 302
    assert User.objects.get().check_password("second password")


def test_a_demo_account_that_was_switched_off_stays_off() -> None:
    ensure_demo_account("demo", "first password")
    User.objects.update(is_active=False)
    assert not ensure_demo_account("demo", "first password").is_active
