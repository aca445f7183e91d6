"""Several drainers at once, each with connections of its own."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from mailbox import Maildir

import pytest
from django.db import connection

from alerts.delivery.claims import DRAINERS, drainer
from alerts.delivery.outbox import drain
from alerts.models import Delivery, DeliveryStatus, Entry, What
from portal.system.bench._smtp import FaultyMailServer, Kept
from tests.alerts.delivery.letters import NOW, delivery, incident
from tests.cast import person

pytestmark = pytest.mark.django_db(transaction=True)


def drained() -> int:
    try:
        return drain(NOW)
    finally:
        connection.close()


def test_two_drainers_share_the_work_and_no_mail_goes_twice(server: FaultyMailServer) -> None:
    server.mischief.delay_s = 0.002
    of = incident()
    for number in range(60):
        delivery(of, person(f"person{number}"))

    with ThreadPoolExecutor(4) as pool:
        counts = [task.result() for task in [pool.submit(drained) for _ in range(4)]]

    assert sum(counts) == 60
    assert Counter(kept.message_id for kept in server.kept).most_common(1)[0][1] == 1
    assert sum(count > 0 for count in counts) == 2
    assert Delivery.objects.filter(status=DeliveryStatus.ACCEPTED, attempts=1).count() == 60
    assert Entry.objects.filter(what=What.ACCEPTED).count() == 60


def test_there_are_never_more_than_two_drainers() -> None:
    came, leave = threading.Barrier(DRAINERS + 1), threading.Event()

    def stay() -> bool:
        try:
            with drainer() as there_is_room:
                came.wait(10)
                leave.wait(10)
                return there_is_room
        finally:
            connection.close()

    with ThreadPoolExecutor(DRAINERS) as pool:
        staying = [pool.submit(stay) for _ in range(DRAINERS)]
        came.wait(10)
        with drainer() as one_too_many:
            assert one_too_many is False
        leave.set()
        assert all(task.result() for task in staying)
    with drainer() as afterwards:
        assert afterwards is True


def test_a_mail_that_is_being_sent_is_left_alone(server: FaultyMailServer) -> None:
    mail = delivery(incident(), person("ann"))
    counts: list[int] = []

    def meanwhile(kept: Kept) -> None:
        with ThreadPoolExecutor(1) as pool:
            counts.append(pool.submit(drained).result())

    server.mischief.before_answer = meanwhile
    assert drain(NOW) == 1
    assert counts == [0]
    assert len(server.kept) == 1
    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.ACCEPTED


def test_nothing_is_sent_inside_a_transaction(server: FaultyMailServer) -> None:
    """Another connection sees the lease, and the server has no open transaction, while the mail is on its way."""
    delivery(incident(), person("ann"))
    seen: list[tuple[object, ...]] = []

    def look(kept: Kept) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT leased_until IS NOT NULL FROM alerts_delivery),"
                " (SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%')"
            )
            seen.append(tuple(cursor.fetchone() or ()))
        connection.close()

    server.mischief.before_answer = look
    assert drain(NOW) == 1
    assert seen == [(True, 0)]


def test_a_database_that_restarts_while_a_mail_is_on_its_way_does_not_send_it_twice(server: FaultyMailServer) -> None:
    mail = delivery(incident(), person("ann"))
    connection.ensure_connection()
    assert connection.connection is not None
    drainers_own = connection.connection.info.backend_pid

    def end_its_connection(kept: Kept) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [drainers_own])
        connection.close()

    server.mischief.before_answer = end_its_connection
    assert drain(NOW) == 1
    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.ACCEPTED
    assert len(server.kept) == 1


def test_a_mail_reaches_the_portals_own_mailbox(mailbox: Maildir) -> None:
    mail = delivery(incident(), person("ann"))
    assert drain(NOW) == 1
    (kept,) = mailbox
    assert kept["X-RcptTo"] == "ann@example.org"
    assert kept["Message-ID"] == f"<{mail.key}@127.0.0.1>"
    mail.refresh_from_db()
    assert mail.answer == "250 2.0.0 Kept"
