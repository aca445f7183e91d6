"""Reading a real PostgreSQL: with all rights and with few, and strangers that answer in its place."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from monitoring.collectors import postgres
from monitoring.collectors.base import Collected, CollectError
from monitoring.history.frame import SeriesName
from monitoring.models import Source
from portal.toolkit.secrets import seal
from tests.monitoring.collectors.conftest import relayed
from tests.postgres_cluster import PASSWORD as PAIR_PASSWORD
from tests.postgres_cluster import Pair, running_pair
from tests.toolkit.server import Answer, page, raw, serving

pytestmark = [pytest.mark.usefixtures("empty_redis", "loopback_is_allowed"), pytest.mark.django_db]
seen_by_others = pytest.mark.django_db(transaction=True)

ROLE, PASSWORD = "watcher", "s3cret-of-the-watcher"


def collect(url: str, secret: str = "", at_s: float = 1000, timeout_s: int = 5, **options: Any) -> Collected:
    source = Source(pk=1, url=url, sealed_secret=seal(secret), timeout_s=timeout_s, options=options)
    return postgres.collect(source, int(at_s * 1000))


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def port() -> Iterator[int]:
    """Of a relay to the tests' PostgreSQL, which asks for passwords there or not, as it is set up."""
    known = connection.settings_dict
    if str(known["HOST"]).startswith("/"):
        with relayed(f"{known['HOST']}/.s.PGSQL.{known['PORT'] or 5432}") as port:
            yield port
    else:
        yield int(known["PORT"])


@pytest.fixture
def watcher(port: int) -> Iterator[str]:
    """The URL of a role that may connect and nothing else."""
    execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
    yield f"postgresql://{ROLE}@127.0.0.1:{port}/{connection.settings_dict['NAME']}"
    execute(f"DROP ROLE {ROLE}")


def metrics(collected: Collected) -> set[str]:
    return {name.metric for name in collected.values}


@seen_by_others
def test_the_portals_own_database_is_read_without_being_told_where_it_is() -> None:
    collect("own:", at_s=1000)
    for _ in range(20):
        execute("SELECT 1")
    execute("SELECT pg_stat_force_next_flush()") if connection.pg_version >= 150000 else time.sleep(1.1)
    execute("SELECT 1")
    collected = collect("own:", at_s=1010)
    values = collected.values
    assert collected.complaint == ""
    assert values[SeriesName("db_connections")] >= 1
    assert 0 < values[SeriesName("db_connections_share")] < 100
    assert values[SeriesName("db_transactions")] > 0
    assert values[SeriesName("db_rollbacks")] >= 0
    assert values[SeriesName("db_deadlocks")] == 0
    assert values[SeriesName("db_longest")] >= 0
    assert values[SeriesName("db_locks")] == 0
    assert values[SeriesName("db_size")] > 5
    assert values[SeriesName("db_size", f'{{"database":"{connection.settings_dict["NAME"]}"}}')] > 5


def test_rates_of_a_first_run_are_gaps() -> None:
    assert math.isnan(collect("own:").values[SeriesName("db_transactions")])


@seen_by_others
def test_a_plain_role_sees_what_it_may_and_one_in_pg_monitor_more(watcher: str) -> None:
    plain = collect(watcher, PASSWORD)
    execute(f"GRANT pg_monitor TO {ROLE}")
    monitor = collect(watcher, PASSWORD)
    assert {"db_connections", "db_transactions", "db_locks", "db_size"} <= metrics(plain)
    assert metrics(monitor) - metrics(plain) == {"db_longest"}
    assert plain.complaint == monitor.complaint == ""


def test_a_lock_that_is_waited_for_and_a_long_transaction_are_seen() -> None:
    known = connection.settings_dict
    where = {"host": known["HOST"], "port": known["PORT"], "user": known["USER"], "dbname": known["NAME"]}
    where["password"] = known["PASSWORD"]
    with psycopg.connect(**where) as first, psycopg.connect(**where) as second:  # type: ignore[arg-type]
        first.execute("SELECT pg_advisory_xact_lock(987654)")
        waiting = threading.Thread(target=second.execute, args=("SELECT pg_advisory_xact_lock(987654)",), daemon=True)
        waiting.start()
        wait_for_lock()
        first.execute("SELECT pg_sleep(0.1)")
        values = collect("own:").values
        first.rollback()
        waiting.join()
    assert values[SeriesName("db_locks")] == 1
    assert values[SeriesName("db_longest")] > 0


def wait_for_lock() -> None:
    for _ in range(200):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            row = cursor.fetchone()
        if row and row[0]:
            return
        time.sleep(0.02)
    raise AssertionError("nobody waits")


def test_a_role_that_does_not_exist_is_said_in_the_servers_words_and_without_the_password(port: int) -> None:
    with pytest.raises(CollectError) as caught:
        collect(f"postgresql://nobody@127.0.0.1:{port}/postgres", PASSWORD)
    assert "PostgreSQL says: " in str(caught.value)
    assert "nobody" in str(caught.value)
    assert PASSWORD not in str(caught.value)


# --- Strangers --------------------------------------------------------------------------------------------------------
def drip(connection_: Any) -> None:
    for _ in range(100):
        connection_.sendall(b"N")
        time.sleep(0.05)


def hang(connection_: Any) -> None:
    time.sleep(4)


# Asks for the password as it is.
PLAIN_PASSWORD_PLEASE = b"R\x00\x00\x00\x08\x00\x00\x00\x03"
# Lets anybody in, and then says nothing any more.
WELCOME_AND_SILENCE = (
    b"R\x00\x00\x00\x08\x00\x00\x00\x00"
    + b"S\x00\x00\x00\x18server_version\x0016.0\x00"
    + b"K\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x02Z\x00\x00\x00\x05I"
)


def after_no_tls(then: bytes, wait_s: float = 0) -> Answer:
    """A server without TLS that says `then` to whoever wants to start."""

    def answer(connection_: Any) -> None:
        connection_.sendall(b"N")
        connection_.recv(4096)
        connection_.sendall(then)
        answer.heard = connection_.recv(4096) if not wait_s else b""  # type: ignore[attr-defined]
        time.sleep(wait_s)

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (page("<html>hello</html>", "text/html"), "PostgreSQL says: "),
        (raw(b""), "PostgreSQL says: "),
        (drip, "PostgreSQL says: "),
        (hang, "PostgreSQL says: |no complete answer within 2 s"),
        (after_no_tls(PLAIN_PASSWORD_PLEASE), "password"),
        (after_no_tls(WELCOME_AND_SILENCE, 4), "no complete answer within 2 s"),
    ],
)
def test_a_stranger_at_the_port_is_an_error_in_time(answer: Answer, words: str) -> None:
    began = time.monotonic()
    with serving(answer) as server, pytest.raises(CollectError) as caught:
        collect(f"postgresql://ann@127.0.0.1:{server.port}/shop", PASSWORD, timeout_s=2)
    assert any(part in str(caught.value) for part in words.split("|")), caught.value
    assert PASSWORD not in str(caught.value)
    assert time.monotonic() - began < 10


def test_the_password_is_not_told_to_whoever_asks_for_it_plainly() -> None:
    answer = after_no_tls(PLAIN_PASSWORD_PLEASE)
    with serving(answer) as server, pytest.raises(CollectError):
        collect(f"postgresql://ann@127.0.0.1:{server.port}/shop", PASSWORD, timeout_s=2)
    assert PASSWORD.encode() not in getattr(answer, "heard", b"")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://ann:pw@192.0.2.7/shop", "belongs into its own field"),
        ("postgresql://192.0.2.7/shop", "The URL names the role"),
        ("postgresql://ann@192.0.2.7/shop?host=/tmp", "Nothing follows the name of the database"),
        ("postgresql://ann@169.254.169.254/shop", "link-local"),
        ("mysql://ann@192.0.2.7/shop", "must start with postgresql:// or postgres://"),
    ],
)
def test_a_url_that_would_not_be_read_is_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        postgres.check_url(url)


# --- A server of somebody else ----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as running:
        running.execute("CREATE EXTENSION pg_stat_statements")
        yield running


def test_a_wrong_password_is_said_in_the_servers_words(pair: Pair) -> None:
    with pytest.raises(CollectError) as caught:
        collect(f"postgresql://postgres@127.0.0.1:{pair.primary}/", "guessed")
    assert 'password authentication failed for user "postgres"' in str(caught.value)
    assert "guessed" not in str(caught.value)


def test_tls_that_is_asked_for_and_not_there_is_an_error(pair: Pair) -> None:
    with pytest.raises(CollectError, match="does not support SSL"):
        collect(f"postgresql://postgres@127.0.0.1:{pair.primary}/", PAIR_PASSWORD, tls="verify-full")


def test_slow_queries_and_the_mean_time_come_from_pg_stat_statements(pair: Pair) -> None:
    url = f"postgresql://postgres@127.0.0.1:{pair.primary}/postgres"
    collect(url, PAIR_PASSWORD, at_s=1000, slow_ms=50)
    for _ in range(2):
        pair.execute("SELECT pg_sleep(0.1)")
    first = collect(url, PAIR_PASSWORD, at_s=1010, slow_ms=50).values
    for _ in range(3):
        pair.execute("SELECT pg_sleep(0.1)")
    second = collect(url, PAIR_PASSWORD, at_s=1020, slow_ms=50).values
    assert first[SeriesName("db_slow_queries")] == 0.1  # a statement that was not slow before counts once
    assert second[SeriesName("db_slow_queries")] == 0.3
    assert 1 < second[SeriesName("query_time")] < 1000


def test_a_primary_shows_its_replicas_lag_and_a_replica_its_own(pair: Pair) -> None:
    primary = collect(f"postgresql://postgres@127.0.0.1:{pair.primary}/postgres", PAIR_PASSWORD).values
    replica = collect(f"postgresql://postgres@127.0.0.1:{pair.replica}/postgres", PAIR_PASSWORD).values
    lags = {name.labels for name in primary if name.metric == "replication_lag"}
    assert lags == {"", '{"replica":"walreceiver@127.0.0.1"}'}
    assert 0 <= replica[SeriesName("replication_lag")] < 600
    assert SeriesName("db_transactions") in replica


def test_without_the_extension_query_times_are_left_out() -> None:
    assert not {"query_time", "db_slow_queries"} & metrics(collect("own:"))
