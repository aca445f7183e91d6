"""The filter of the fleet page: what the address says, and back."""

from __future__ import annotations

import pytest
from django.http import QueryDict

from monitoring.fleet_filter import FleetFilter


def read(address: str) -> FleetFilter:
    return FleetFilter.read(QueryDict(address))


def test_an_address_and_its_filter_say_the_same() -> None:
    address = "/?state=critical&kind=web&group=3&q=shop+db&sort=cpu&page=2"
    assert read(address.removeprefix("/?")).address() == address


def test_what_is_as_it_starts_is_not_in_the_address() -> None:
    assert read("state=&kind=&group=&q=&sort=worst&page=1").address() == "/"


@pytest.mark.parametrize(
    "address",
    ["state=burning", "kind=toaster", "group=x", "group=-1", "sort=random", "page=0", "page=x", "page=" + "9" * 30],
)
def test_what_is_not_understood_is_left_out(address: str) -> None:
    assert read(address) == FleetFilter()


def test_a_search_of_any_length_is_cut_and_cleaned() -> None:
    assert read("q=%00++a" + "b" * 500).text == "a" + "b" * 199


def test_only_a_filter_narrows_not_an_order() -> None:
    assert read("state=critical").narrows
    assert not read("sort=name&page=3").narrows
