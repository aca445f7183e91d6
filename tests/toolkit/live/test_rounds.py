"""A crowd at the door: asked for in rounds, in order, once for each person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import OperationalError
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from portal.accounts.models import User
from portal.toolkit.live import rounds as rounds_module
from portal.toolkit.live.rounds import Rounds
from portal.toolkit.live.sign_in import admitted_of, people_of
from portal.toolkit.live.topic import Address
from tests.toolkit.live.conftest import Gauge, until


async def test_a_crowd_is_answered_in_order_and_in_bounded_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_module, "MOST_A_ROUND", 20)
    asked: list[list[int]] = []
    answered: list[int] = []

    def answer(questions: Sequence[int]) -> list[int]:
        asked.append(list(questions))
        return [-question for question in questions]

    rounds = Rounds(answer)

    async def one(number: int) -> None:
        assert await rounds.ask(number) == -number
        answered.append(number)

    await asyncio.gather(*map(one, range(50)))
    assert [len(questions) for questions in asked] == [20, 20, 10]
    assert answered == [number for questions in asked for number in questions] == list(range(50))


async def test_a_question_that_comes_during_a_round_is_answered_by_the_next() -> None:
    asked: list[list[str]] = []

    def answer(questions: Sequence[str]) -> Sequence[str]:
        asked.append(list(questions))
        return questions

    rounds = Rounds(answer)
    first = asyncio.create_task(rounds.ask("first"))
    await until(lambda: asked)
    assert (await rounds.ask("second"), await first) == ("second", "first")
    assert asked == [["first"], ["second"]]


async def test_a_database_that_is_away_fails_its_round_and_not_the_next() -> None:
    errors: list[Exception | None] = [OperationalError("away"), None]

    def answer(questions: Sequence[str]) -> Sequence[str]:
        if error := errors.pop(0):
            raise error
        return questions

    rounds = Rounds(answer)
    told = await asyncio.gather(rounds.ask("a"), rounds.ask("b"), return_exceptions=True)
    assert [type(one) for one in told] == [OperationalError, OperationalError]
    assert await rounds.ask("c") == "c"


async def test_who_goes_while_waiting_is_left_out() -> None:
    rounds: Rounds[str, str] = Rounds(lambda questions: questions)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await rounds.ask("gone")
    assert await rounds.ask("there") == "there"


def test_a_session_is_looked_up_once_for_all_its_sockets(
    browser: Client, reader: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    session_key = browser.cookies[settings.SESSION_COOKIE_NAME].value
    with django_assert_num_queries(2):
        assert people_of([session_key] * 100) == [reader] * 100
    assert people_of(["unknown", session_key]) == [None, reader]


def test_what_somebody_may_watch_is_asked_once_for_all_their_sockets(
    gauge: Gauge, reader: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[list[str]] = []

    def admit_many(_user: AbstractBaseUser, keys: Sequence[str]) -> dict[str, str]:
        looks.append(list(keys))
        return {key: key for key in keys if not key.startswith("secret")}

    monkeypatch.setattr(gauge, "admit_many", admit_many)
    one, two, secret = Address("gauge", "1"), Address("gauge", "2"), Address("gauge", "secret")
    assert admitted_of([(reader, [one, two]), (reader, [two, secret])]) == [{one: one, two: two}, {two: two}]
    assert looks == [["1", "2", "secret"]]
