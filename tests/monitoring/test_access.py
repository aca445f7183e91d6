from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404
from pytest_django import DjangoAssertNumQueries

from monitoring.access import audience_of, groups_for, operated_groups, server_for, servers_for, servers_of
from monitoring.models import Membership, Role, Server
from tests.cast import Cast, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def test_members_and_superusers_see_a_server_and_a_stranger_is_told_there_is_none(cast: Cast) -> None:
    for who in (cast.owner, cast.operator, cast.reader, cast.superuser):
        assert server_for(who, cast.server.pk) == cast.server
        assert list(servers_for(who)) == [cast.server]
    for nobody in (cast.stranger, AnonymousUser()):
        with pytest.raises(Http404):
            server_for(nobody, cast.server.pk)
        assert list(servers_for(nobody)) == []


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (Role.OPERATOR, ["operator", "owner", "superuser"], ["reader"]),
        (Role.ADMIN, ["owner", "superuser"], ["reader", "operator"]),
    ],
)
def test_a_role_may_do_what_the_ones_before_it_may(cast: Cast, role: Role, may: list[str], may_not: list[str]) -> None:
    people = cast.by_name()
    for name in may:
        assert server_for(people[name], cast.server.pk, role) == cast.server
    for name in may_not:
        with pytest.raises(PermissionDenied):
            server_for(people[name], cast.server.pk, role)
        assert not servers_for(people[name], role).exists()
    with pytest.raises(Http404):
        server_for(cast.stranger, cast.server.pk, role)


def test_who_is_switched_off_sees_nothing_even_as_a_superuser(cast: Cast) -> None:
    for who in (cast.reader, cast.superuser):
        who.is_active = False
        assert not servers_for(who).exists()
        assert not groups_for(who).exists()
        assert audience_of(who) == ""
        with pytest.raises(Http404):
            server_for(who, cast.server.pk)


def test_people_who_see_the_same_have_the_same_audience(cast: Cast) -> None:
    assert audience_of(cast.reader) == audience_of(cast.owner) == str(cast.group.pk)
    assert audience_of(cast.superuser) == "*"
    assert audience_of(AnonymousUser()) == ""
    Membership.objects.create(user=cast.reader, group=cast.elsewhere, role=Role.VIEWER)
    assert audience_of(cast.reader) == f"{cast.group.pk},{cast.elsewhere.pk}"


def test_an_audience_sees_the_servers_of_its_groups_and_no_others(cast: Cast) -> None:
    other = Server.objects.create(name="other", group=cast.elsewhere)
    assert list(servers_of(audience_of(cast.reader))) == [cast.server]
    assert list(servers_of(audience_of(cast.stranger))) == [other]
    assert set(servers_of("*")) == {cast.server, other}
    assert list(servers_of("")) == []


def test_operated_groups_are_those_where_one_may_pause(cast: Cast) -> None:
    assert operated_groups(cast.reader) == []
    assert operated_groups(cast.operator) == [cast.group.pk]
    assert operated_groups(cast.stranger) == [cast.elsewhere.pk]
    assert operated_groups(cast.superuser) == sorted([cast.group.pk, cast.elsewhere.pk])


def test_a_person_in_two_groups_sees_each_server_once(cast: Cast) -> None:
    Membership.objects.create(user=cast.reader, group=cast.elsewhere, role=Role.ADMIN)
    Server.objects.create(name="other", group=cast.elsewhere)
    assert sorted(servers_for(cast.reader).values_list("name", flat=True)) == ["other", "shop-web-1"]
    assert list(servers_for(cast.reader, Role.ADMIN).values_list("name", flat=True)) == ["other"]


def test_looking_up_a_server_costs_one_query(cast: Cast, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        assert server_for(cast.operator, cast.server.pk, Role.OPERATOR).group == cast.group
