"""What an admin may type into a source."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from monitoring.collectors.base import collector
from monitoring.models import Collector, Server, Source


def words_for(url: str, kind: str = "prometheus") -> str:
    source = Source(collector=kind, url=url)
    with pytest.raises(ValidationError) as caught:
        source.clean()
    [message] = caught.value.message_dict["url"]
    return str(message)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "This kind of source needs a URL."),
        ("ftp://10.0.0.1/metrics", "the URL must start with http:// or https://"),
        ("10.0.0.1:9100", "the URL must start with http:// or https://"),
        ("http://admin:secret@10.0.0.1/", "The password belongs into its own field."),
        ("http://127.0.0.1:9100/metrics", "127.0.0.1 is the portal's own machine (loopback); only the setting"),
        ("http://localhost:9100/metrics", "(loopback); only the setting PORTAL_SCRAPE_ALLOW can permit it"),
        ("http://169.254.169.254/latest/", "169.254.169.254 is link-local, where metadata services are"),
        ("http://metadata.google.internal/", "metadata.google.internal is a cloud's metadata service"),
        ("http://2130706433/", "write the address 2130706433 in the usual way, like 192.0.2.7"),
    ],
)
def test_a_url_that_would_not_be_read_is_refused_at_once(url: str, words: str) -> None:
    assert words in words_for(url)


def test_this_machine_is_read_without_a_url() -> None:
    assert "leave it empty" in words_for("http://10.0.0.1/", "host")
    Source(collector="host").clean()


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7:9100/metrics", " https://192.168.1.4/metrics ", "http://[fd00::5]:9100/"]
)
def test_private_networks_are_fine(url: str) -> None:
    source = Source(collector="prometheus", url=url)
    source.clean()
    assert source.url == url.strip()


def test_a_name_that_the_dns_does_not_know_yet_is_fine() -> None:
    Source(collector="prometheus", url="http://next-week.invalid:9100/metrics").clean()


def test_what_the_setting_allows_is_fine(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["127.0.0.1:9100"]
    Source(collector="prometheus", url="http://127.0.0.1:9100/metrics").clean()


@pytest.mark.django_db
def test_the_whole_form_is_checked(make_server: Callable[..., Server]) -> None:
    source = Source(server=make_server(), collector="prometheus", url="http://127.0.0.1/", interval_s=1)
    with pytest.raises(ValidationError) as caught:
        source.full_clean()
    assert set(caught.value.message_dict) == {"url", "interval_s"}


@pytest.mark.parametrize("name", Collector.values)
def test_every_collector_is_a_file_of_its_name(name: str) -> None:
    assert collector(name) is import_module(f"monitoring.collectors.{name}").collect
