from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.cast import make_cast, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(db: None) -> Client:
    return sign_in(make_cast().superuser)


def models(page: str, app: str) -> list[str]:
    return re.findall(r'<tr class="model-(\w+)', page.split(f'class="app-{app} module')[1].split("</table>")[0])


def test_what_is_looked_for_most_often_comes_first(admin: Client) -> None:
    page = admin.get("/admin/").content.decode()
    assert models(page, "alerts") == ["threshold", "rota", "silence", "incident", "delivery", "bounce"]
    assert models(page, "monitoring")[:3] == ["server", "servergroup", "source"]


def test_the_page_of_one_app_has_the_same_order(admin: Client) -> None:
    assert models(admin.get("/admin/alerts/").content.decode(), "alerts")[0] == "threshold"
