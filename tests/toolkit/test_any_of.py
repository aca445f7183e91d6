"""Many ids as one parameter find what `__in` finds."""

from __future__ import annotations

import pytest
from django.db.models import Q
from pytest_django import DjangoAssertNumQueries

from monitoring.models import Server, ServerGroup
from portal.toolkit.any_of import AnyOf

pytestmark = pytest.mark.django_db


@pytest.fixture
def ids() -> list[int]:
    group = ServerGroup.objects.create(name="Many")
    return [Server.objects.create(name=f"node-{number}", group=group).pk for number in range(5)]


@pytest.mark.parametrize("wanted", [slice(0), slice(1), slice(1, 4)])
def test_it_finds_what_in_finds(ids: list[int], wanted: slice) -> None:
    asked = [*ids[wanted], *([10**17] if ids[wanted] else [])]
    found = Server.objects.order_by("pk")
    assert list(found.filter(AnyOf("pk", asked))) == list(found.filter(pk__in=asked))
    assert list(found.exclude(AnyOf("pk", asked))) == list(found.exclude(pk__in=asked))
    assert list(found.filter(Q(name="node-0") | Q(AnyOf("pk", asked)))) == list(
        found.filter(Q(name="node-0") | Q(pk__in=asked))
    )


def test_it_goes_through_relations_and_expressions(ids: list[int]) -> None:
    group = ServerGroup.objects.get(name="Many")
    assert Server.objects.filter(AnyOf("group_id", {group.pk, -1})).count() == 5
    assert Server.objects.filter(AnyOf("group__pk", [group.pk]), AnyOf("pk", iter(ids[:2]))).count() == 2


def test_it_has_one_parameter_and_without_ids_no_query(
    ids: list[int], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _sql, params = Server.objects.filter(AnyOf("pk", ids)).order_by().query.sql_with_params()
    assert len(params) == 1
    with django_assert_num_queries(0):
        assert list(Server.objects.filter(AnyOf("pk", []))) == []
