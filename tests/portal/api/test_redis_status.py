"""How Redis does, told by a Redis that answers, one that is away, and one that says no."""

from __future__ import annotations

import pytest
import redis as redis_py

from portal.system import redis_status
from tests.cast import Cast, sign_in

PATH = "/api/system/redis"


def away(_cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_status, "client", lambda: redis_py.Redis(host="127.0.0.1", port=1))


def test_everyone_sees_whether_it_answers_and_how_fast(cast: Cast) -> None:
    answer = sign_in(cast.stranger).get(PATH)
    body = answer.json()
    assert (body["status"], body["target"]) == ("connected", 10.0)
    assert body["rating"] == ("optimal" if body["responseTime"] < 10 else "degraded")
    assert set(body) == {"status", "responseTime", "target", "rating", "timestamp"}
    assert answer.headers["Cache-Control"] == "no-cache"


def test_staff_sees_how_it_does(cast: Cast) -> None:
    body = sign_in(cast.superuser).get(PATH).json()
    assert body["uptime"] >= 0
    assert body["memory"]["used"] > 0
    assert set(body["hitRate"]) == {"cache", "keyspace"}
    assert {"version", "clients", "lastError", "lastErrorAt", "timesOpened"} <= set(body)


def test_one_that_is_slow_is_degraded(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_status, "_ping", lambda: 10.5)
    assert sign_in(cast.reader).get(PATH).json()["rating"] == "degraded"


@pytest.mark.parametrize(("was_there", "status"), [(False, "disconnected"), (True, "reconnecting")])
def test_one_that_is_away_is_an_error(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, was_there: bool, status: str
) -> None:
    monkeypatch.setattr(redis_status._seen, "connected", was_there)
    away(cast, monkeypatch)
    answer = sign_in(cast.reader).get(PATH)
    body = answer.json()
    assert (answer.status_code, body["error"], body["status"]) == (503, "unavailable", status)
    assert "lastError" not in body
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "Connection refused" in sign_in(cast.superuser).get(PATH).json()["lastError"]


def test_one_that_does_not_answer_in_time_is_an_error_of_its_own(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs() -> float:
        raise redis_py.TimeoutError("Timeout reading from socket")

    monkeypatch.setattr(redis_status, "_ping", hangs)
    assert sign_in(cast.reader).get(PATH).json()["status"] == "error"
