"""Settings are read strictly: a wrong value names its variable and says what is allowed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured

from portal.toolkit.env import Env, read_env_file
from portal.toolkit.services import celery_broker_url, email_settings, postgres_settings, redis_tls


def test_a_flag_is_0_or_1_and_nothing_else() -> None:
    env = Env({"ON": "1", "OFF": "0", "WRONG": "yes", "EMPTY": ""})
    assert (env.flag("ON"), env.flag("OFF"), env.flag("EMPTY", True), env.flag("ABSENT")) == (True, False, True, False)
    with pytest.raises(ImproperlyConfigured, match=r"^WRONG='yes': use 0 or 1$"):
        env.flag("WRONG")


@pytest.mark.parametrize("value", ["0", "61", "-1", "ten", "1.5"])
def test_a_number_out_of_range_says_the_range(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"^LIMIT='{value}': use a whole number from 1 to 60$"):
        Env({"LIMIT": value}).whole("LIMIT", 5, least=1, most=60)


def test_words_are_separated_by_commas_and_blanks_left_out() -> None:
    assert Env({"HOSTS": "a, b ,,c"}).words("HOSTS") == ["a", "b", "c"]
    assert Env({}).words("HOSTS", ("x",)) == ["x"]


def test_origins_are_what_browsers_send() -> None:
    good = ["https://status.example.org", "http://127.0.0.1:8000", "https://[::1]:8443"]
    assert Env({"ORIGINS": ",".join(good)}).origins("ORIGINS") == good
    assert Env({}).origins("ORIGINS") == []


@pytest.mark.parametrize("value", ["*", "a.example.org", "https://a.example/path", "https://u:p@a.example", "null"])
def test_what_is_no_origin_is_refused(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^ORIGINS: .* is no origin, use https://"):
        Env({"ORIGINS": value}).origins("ORIGINS")


def test_a_url_with_another_scheme_is_refused_without_showing_its_password() -> None:
    env = Env({"DATABASE_URL": "mysql://user:secret@host/name"})
    with pytest.raises(ImproperlyConfigured) as caught:
        env.url("DATABASE_URL", ("postgresql",))
    assert str(caught.value) == "DATABASE_URL: starts with mysql://, use postgresql"


def test_an_env_file_is_lines_of_key_and_value_and_may_be_absent(tmp_path: Path) -> None:
    (tmp_path / "portal.env").write_text("# kept by up\nA=1\nURL=redis://host?x=1\n\n")
    assert read_env_file(tmp_path / "portal.env") == {"A": "1", "URL": "redis://host?x=1"}
    assert read_env_file(tmp_path / "absent") == {}


def test_postgresql_by_url_with_a_socket_folder_and_an_escaped_password() -> None:
    settings = postgres_settings(urlsplit("postgresql://me:p%40ss@/portal?host=/run/pg&port=6000"), pool_size=4)
    assert {key: settings[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
        "NAME": "portal",
        "USER": "me",
        "PASSWORD": "p@ss",
        "HOST": "/run/pg",
        "PORT": "6000",
    }


@pytest.mark.parametrize(
    "wrong", ["redis://h:abc/0", "redis://h:99999/0", "redis://[::1/0", "redis://me:secret/word@h:6379/0"]
)
def test_a_url_that_is_none_is_refused_by_name_and_without_its_password(wrong: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL") as refused:
        Env({"REDIS_URL": wrong}).url("REDIS_URL", ("redis",))
    assert "secret" not in str(refused.value)


def test_tls_is_at_least_1_2_and_checked() -> None:
    import ssl

    options = postgres_settings(urlsplit("postgresql://me@host/portal?sslmode=verify-full"), pool_size=4)["OPTIONS"]
    assert (options["sslmode"], options["ssl_min_protocol_version"]) == ("verify-full", "TLSv1.2")
    assert redis_tls(urlsplit("rediss://host")) == {
        "ssl_cert_reqs": "required",
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }
    assert redis_tls(urlsplit("redis://host")) == {}


def test_celery_is_told_of_a_unix_socket_in_its_own_spelling() -> None:
    assert celery_broker_url(urlsplit("unix:///run/redis.sock?db=1")) == "redis+socket:///run/redis.sock?db=1"
    assert celery_broker_url(urlsplit("rediss://:pw@host:6380/0")).startswith("rediss://:pw@host:6380/0")


@pytest.mark.parametrize(
    ("url", "port", "starttls", "tls"),
    [
        ("smtp://mail", 25, False, False),
        ("smtp+tls://me:pw@mail", 587, True, False),
        ("smtps://mail", 465, False, True),
        ("smtp://mail:2525", 2525, False, False),
    ],
)
def test_mail_by_url(url: str, port: int, starttls: bool, tls: bool) -> None:
    settings = email_settings(urlsplit(url))
    assert (settings["EMAIL_PORT"], settings["EMAIL_USE_TLS"], settings["EMAIL_USE_SSL"]) == (port, starttls, tls)
