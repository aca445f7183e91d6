"""What a PostgreSQL server tells about itself: the statistics views, part by part, as metrics of the catalogue.

A part that the server or the role does not allow is left out and named; the others are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from django.utils.translation import gettext_noop as _
from psycopg import sql

from monitoring.collectors.base import CollectError
from monitoring.collectors.counters import NAN, Counters
from monitoring.collectors.measures import MB, Values, labelled, percent
from monitoring.history.frame import SeriesName
from portal.toolkit.printable import printable
from portal.toolkit.sentence import sentence

OLDEST = 120_000
MOST_DATABASES = 50
MOST_REPLICAS = 20
MOST_SLOW = 200

# A role that is no member of pg_monitor sees that there is a session, but neither its kind nor since when it works.
_SESSIONS = """
SELECT
    count(*) FILTER (
        WHERE backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL)
    ) AS clients,
    coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)) FILTER (
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    ), 0) AS longest,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
    (SELECT count(*) FROM pg_locks WHERE NOT granted) AS waiting,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most,
    extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) AS uptime
FROM pg_stat_activity
"""
_WORK = """
SELECT sum(xact_commit) AS commits, sum(xact_rollback) AS rollbacks, sum(deadlocks) AS deadlocks,
    sum(blks_hit) AS hits, sum(blks_read) AS reads
FROM pg_stat_database
"""
# A replica that has replayed all it was sent is not late, however long ago its primary last wrote something; one that
# has lost its primary is.
_OWN_LAG = """
SELECT CASE
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END AS lag
"""
_REPLICAS = """
SELECT application_name || coalesce('@' || host(client_addr), '') AS replica, extract(epoch FROM max(coalesce(
    replay_lag, '0'))) AS lag
FROM pg_stat_replication WHERE state IS NOT NULL GROUP BY 1 ORDER BY lag DESC LIMIT %s
"""
_SIZES = """
SELECT datname AS name, pg_database_size(oid) AS bytes
FROM pg_database
WHERE datallowconn AND NOT datistemplate
    AND (has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE'))
ORDER BY bytes DESC
"""
_EXTENSION = """
SELECT nspname AS schema, extversion AS version
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_stat_statements'
"""
_QUERIES = "SELECT sum(calls) AS calls, sum({total}) AS ms FROM {view}"
_SLOW = """
SELECT concat_ws('/', dbid, userid, queryid) AS key, sum(calls) AS calls, sum({total}) AS ms
FROM {view} WHERE queryid IS NOT NULL AND {longest} >= %s GROUP BY 1 ORDER BY ms DESC LIMIT %s
"""


@dataclass
class Reading:
    """One run over one connection; `complaints` names what could not be read, in stored sentences."""

    connection: psycopg.Connection[dict[str, Any]]
    counters: Counters
    slow_ms: int
    complaints: list[str] = field(default_factory=list)

    def values(self) -> Values:
        """All that can be read. Raises CollectError for a server that is too old, psycopg.Error when it is gone."""
        if self.connection.info.server_version < OLDEST:
            raise CollectError(_("this PostgreSQL is older than version 12"))
        values: Values = {}
        for name, part in (
            ("pg_stat_activity", self._sessions),
            ("pg_stat_database", self._work),
            ("pg_stat_replication", self._replication),
            ("pg_database_size", self._sizes),
            ("pg_stat_statements", self._statements),
        ):
            try:
                values |= part()
            except psycopg.Error as error:
                if self.connection.closed or self.connection.broken:
                    raise
                said = printable(" ".join(str(error).split()), 150)
                self.complaints.append(
                    sentence(_("%(part)s could not be read: %(error)s."), part=name, error=said.rstrip("."))
                )
        return values

    def _rows(self, query: LiteralString | sql.Composed, *parameters: object) -> list[dict[str, Any]]:
        return self.connection.execute(query, parameters or None).fetchall()

    def _sessions(self) -> Values:
        [row] = self._rows(_SESSIONS)
        values = {
            SeriesName("db_connections"): float(row["clients"]),
            SeriesName("db_connections_share"): percent(row["clients"], row["most"]),
            SeriesName("db_locks"): float(row["waiting"]),
            SeriesName("uptime"): float(row["uptime"]),
        }
        if row["sees_all"]:
            values[SeriesName("db_longest")] = float(row["longest"])
        return values

    def _work(self) -> Values:
        [row] = self._rows(_WORK)
        counted = {name: float(value or 0) for name, value in row.items()}
        hits = self.counters.increase("hits", counted["hits"])
        reads = self.counters.increase("reads", counted["reads"])
        return {
            SeriesName("db_transactions"): self.counters.rate("commits", counted["commits"])
            + self.counters.rate("rollbacks", counted["rollbacks"]),
            SeriesName("db_rollbacks"): self.counters.rate("rollbacks", counted["rollbacks"]),
            SeriesName("db_deadlocks"): self.counters.rate("deadlocks", counted["deadlocks"]),
            SeriesName("db_cache_hit"): percent(hits, hits + reads),
        }

    def _replication(self) -> Values:
        """On a replica how late it is; on a primary how late each replica is, and the latest."""
        lag = SeriesName("replication_lag")
        [row] = self._rows("SELECT pg_is_in_recovery() AS replica")
        if row["replica"]:
            [row] = self._rows(_OWN_LAG)
            return {lag: _number(row["lag"])}
        replicas = {row["replica"]: _number(row["lag"]) for row in self._rows(_REPLICAS, MOST_REPLICAS)}
        each = {labelled("replication_lag", replica=name): value for name, value in replicas.items()}
        return {**each, lag: max(replicas.values())} if each else {}

    def _sizes(self) -> Values:
        sizes = {row["name"]: row["bytes"] / MB for row in self._rows(_SIZES)}
        largest = list(sizes.items())[:MOST_DATABASES]
        return {
            SeriesName("db_size"): math.fsum(sizes.values()),
            **{labelled("db_size", database=name): size for name, size in largest},
        }

    def _statements(self) -> Values:
        """Mean time and slow queries a second since the last run; nothing where there is no pg_stat_statements."""
        found = self._rows(_EXTENSION)
        if not found:
            return {}
        names = _statement_names(found[0]["schema"], found[0]["version"])
        [row] = self._rows(sql.SQL(_QUERIES).format(**names))
        calls = self.counters.increase("calls", float(row["calls"] or 0))
        spent_ms = self.counters.increase("calls ms", float(row["ms"] or 0))
        slow = self._slow(self._rows(sql.SQL(_SLOW).format(**names), self.slow_ms, MOST_SLOW))
        return {
            SeriesName("query_time"): spent_ms / calls if calls else NAN,
            SeriesName("db_slow_queries"): slow / self.counters.seconds,
        }

    def _slow(self, rows: list[dict[str, Any]]) -> float:
        """How many slow queries there were since the last run, of the statements that were ever slow.

        All calls of a statement whose mean since then is slow; one of a statement that was not among them before.
        """
        slow = 0.0
        for row in rows:
            known = row["key"] in self.counters.before
            calls = self.counters.increase(row["key"], float(row["calls"]))
            spent_ms = self.counters.increase(f"{row['key']} ms", float(row["ms"]))
            if not known:
                slow += 1
            elif calls > 0 and spent_ms / calls >= self.slow_ms:
                slow += calls
        return slow


def _statement_names(schema: str, version: str) -> dict[str, sql.Composable]:
    """The view and its columns, which were renamed with version 1.8 (PostgreSQL 13)."""
    renamed = tuple(map(int, version.split(".")[:2])) >= (1, 8)
    return {
        "view": sql.Identifier(schema, "pg_stat_statements"),
        "total": sql.Identifier("total_exec_time" if renamed else "total_time"),
        "longest": sql.Identifier("max_exec_time" if renamed else "max_time"),
    }


def _number(value: Any) -> float:
    return NAN if value is None else max(0.0, float(value))
