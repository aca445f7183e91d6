"""What is answered when something is wrong: plain words, and a way on."""

from __future__ import annotations

import pytest
from django.template.loader import render_to_string
from django.test import Client, RequestFactory

from portal.views import server_error
from tests.cast import person, sign_in


@pytest.mark.django_db
def test_a_wrong_address_is_not_found() -> None:
    response = sign_in(person("reader")).get("/servers/999999/")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


@pytest.mark.django_db
def test_a_form_without_its_token_is_explained() -> None:
    response = Client(enforce_csrf_checks=True).post("/accounts/language/", {"language": "ko"})
    assert response.status_code == 403
    assert "This form is out of date" in response.content.decode()


@pytest.mark.django_db
def test_a_malformed_request_is_explained() -> None:
    response = sign_in(person("reader")).get("/", headers={"Host": "evil.example.org"})
    assert response.status_code == 400
    assert "did not understand" in response.content.decode()


def test_an_error_of_ours_is_said_without_asking_the_database() -> None:
    response = server_error(RequestFactory().get("/"))
    assert response.status_code == 500
    assert "Something broke on our side" in response.content.decode()


def test_a_database_that_is_away_is_told_apart() -> None:
    html = render_to_string("500.html", {"away": True, "status": 503})
    assert "The database does not answer" in html
    assert "<form" not in html
