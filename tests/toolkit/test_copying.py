from __future__ import annotations

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, connection

from portal.toolkit.copying import copying


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_breaks_in_the_middle_is_an_error_of_django() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (value int)")
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        with psycopg.connect(**_where(), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
        with pytest.raises(OperationalError), copying(cursor, "COPY copied FROM STDIN") as copy:
            copy.write_row((1,))
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_so_is_a_row_that_may_not_be() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (value int NOT NULL)")
        with pytest.raises(IntegrityError), copying(cursor, "COPY copied FROM STDIN") as copy:
            copy.write_row((None,))
        cursor.execute("DROP TABLE copied")


def _where() -> dict[str, str]:
    """Of the connection that the test has."""
    info = connection.connection.info
    return {"host": info.host, "port": str(info.port), "dbname": info.dbname, "user": info.user} | (
        {"password": info.password} if info.password else {}
    )
