"""The drainer, against a real mail server that does what mail servers do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from alerts.delivery import outbox, results
from alerts.delivery.claims import CLAIM, claim
from alerts.delivery.outbox import drain
from alerts.delivery.smtp import DeliveryError
from alerts.models import Bounce, Delivery, DeliveryKind, DeliveryStatus, Entry, Rota, RotaMember, What
from monitoring.models import Role
from portal.system.bench._smtp import FaultyMailServer
from portal.toolkit.sentence import say
from tests.alerts.delivery.letters import NOW, a_server, delivery, incident
from tests.cast import member, person

pytestmark = pytest.mark.django_db


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def decisions(of: Delivery, what: What) -> list[str]:
    return [say(entry.text) for entry in Entry.objects.filter(incident=of.incident, what=what)]


def drain_until_done(start_s: float = 0.0, steps: int = 200) -> None:
    """As beat does, in steps of a quarter of an hour for two days at most."""
    for step in range(steps):
        drain(NOW + seconds(start_s + 900 * step))
        if not Delivery.objects.filter(status=DeliveryStatus.QUEUED).exists():
            return


# --- Accepted ---------------------------------------------------------------------------------------------------------


def test_a_mail_that_is_accepted_keeps_the_answer_of_the_server(server: FaultyMailServer) -> None:
    mail = delivery(incident(), person("ann"))

    assert drain(NOW) == 1

    (kept,) = server.kept
    assert kept.receiver == "ann@example.org"
    assert kept.message_id == f"<{mail.key}@127.0.0.1>"
    mail.refresh_from_db()
    assert (mail.status, mail.leased_until) == (DeliveryStatus.ACCEPTED, None)
    assert mail.answer == "250 2.0.0 Ok: queued as 1"
    assert mail.ended_at is not None
    (entry,) = Entry.objects.filter(what=What.ACCEPTED)
    assert say(entry.text) == "Accepted by 127.0.0.1: 250 2.0.0 Ok: queued as 1"
    assert (entry.about_name, entry.level) == ("ann", "critical")


def test_a_mail_that_was_accepted_is_not_sent_again(server: FaultyMailServer) -> None:
    delivery(incident(), person("ann"))
    drain(NOW)
    assert drain(NOW + seconds(3600)) == 0
    assert len(server.kept) == 1


def test_an_accepted_mail_forgets_that_the_address_bounced(server: FaultyMailServer) -> None:
    Bounce.objects.create(address="Ann@example.org", at=NOW, answer="550 No such user")
    Bounce.objects.create(address="bob@example.org", at=NOW, answer="550 No such user")
    delivery(incident(), person("ann"))
    drain(NOW)
    assert [bounce.address for bounce in Bounce.objects.all()] == ["bob@example.org"]


def test_many_mails_go_over_one_connection(server: FaultyMailServer) -> None:
    of = incident()
    for number in range(2 * CLAIM + 1):
        delivery(of, person(f"person{number}"))
    assert drain(NOW) == 2 * CLAIM + 1
    assert server.connections == 1


def test_a_server_that_hangs_up_instead_of_saying_goodbye_has_still_accepted(server: FaultyMailServer) -> None:
    server.mischief.closes_at_quit = True
    mail = delivery(incident(), person("ann"))
    assert drain(NOW) == 1
    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.ACCEPTED


# --- Not now ----------------------------------------------------------------------------------------------------------


def test_a_mail_that_is_deferred_goes_later_with_the_same_id(server: FaultyMailServer) -> None:
    server.mischief.defers = 3
    mail = delivery(incident(), person("ann"))

    drain_until_done()

    assert server.tried == 4
    assert [kept.message_id for kept in server.kept] == [f"<{mail.key}@127.0.0.1>"]
    mail.refresh_from_db()
    assert (mail.status, mail.attempts) == (DeliveryStatus.ACCEPTED, 4)


def test_the_time_line_says_once_that_a_mail_is_put_off_and_again_when_the_reason_changes(
    server: FaultyMailServer,
) -> None:
    mail = delivery(incident(), person("ann"))
    server.mischief.defers = 2
    drain(NOW)
    drain(NOW + seconds(900))  # the same codes, another ticket
    server.mischief.answer_to_data = "452 4.2.2 The mailbox is full"
    drain(NOW + seconds(1800))
    assert decisions(mail, What.DEFERRED) == [
        "127.0.0.1 says not now: 451 4.7.1 Come back later (ticket 1)",
        "127.0.0.1 says not now: 452 4.2.2 The mailbox is full",
    ]


def test_pauses_between_attempts_grow_and_never_exceed_an_hour(server: FaultyMailServer) -> None:
    server.mischief.defers = 100
    mail = delivery(incident(), person("ann"))
    pauses, now = [], NOW
    for _ in range(11):
        drain(now)
        mail.refresh_from_db()
        pauses.append((mail.next_attempt_at - now).total_seconds())
        now = mail.next_attempt_at
    assert 4 <= pauses[0] <= 7
    assert 12 <= pauses[1] <= 19
    assert 96 <= pauses[3] <= 145
    assert all(2800 <= pause <= 4350 for pause in pauses[7:])


def test_a_mail_is_not_tried_before_its_time(server: FaultyMailServer) -> None:
    server.mischief.defers = 1
    delivery(incident(), person("ann"))
    drain(NOW)
    drain(NOW + seconds(2))
    assert server.tried == 1


def test_one_receiver_that_is_deferred_does_not_hold_back_the_others(server: FaultyMailServer) -> None:
    server.mischief.answer_to_rcpt = "421 4.7.0 Too many mails for you"
    server.mischief.victims = frozenset({"ann@example.org"})
    of = incident()
    for name in ("ann", "bob", "cid"):
        delivery(of, person(name))
    assert drain(NOW) == 2
    assert [kept.receiver for kept in server.kept] == ["bob@example.org", "cid@example.org"]


def test_after_24_hours_a_mail_is_given_up(server: FaultyMailServer) -> None:
    server.mischief.defers = 1000
    mail = delivery(incident(), person("ann"))

    drain_until_done()

    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.DEAD
    assert mail.ended_at is not None
    assert seconds(0) <= mail.ended_at - (NOW + timedelta(hours=24)) < seconds(1000)
    (text,) = decisions(mail, What.BOUNCED)
    assert text.startswith("Given up after 24 h. The last answer: 451 4.7.1 Come back later")
    assert not Bounce.objects.exists()


def test_a_server_that_refuses_our_sender_is_a_mistake_to_be_mended_not_a_dead_letter(server: FaultyMailServer) -> None:
    server.mischief.answer_to_mail = "550 5.7.1 Sender not allowed"
    mail = delivery(incident(), person("ann"))
    drain(NOW)
    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.QUEUED
    assert decisions(mail, What.DEFERRED) == ["127.0.0.1 cannot be used: 550 5.7.1 Sender not allowed"]


# --- The server is away -----------------------------------------------------------------------------------------------


def test_a_refused_connection_puts_all_off_with_one_try(server: FaultyMailServer) -> None:
    server.down()
    of = incident()
    mails = [delivery(of, person(f"person{number}")) for number in range(3)]

    assert drain(NOW) == 0

    for mail in mails:
        mail.refresh_from_db()
        assert (mail.status, mail.answer, mail.leased_until) == (DeliveryStatus.QUEUED, "Connection refused", None)
        assert seconds(3) < mail.next_attempt_at - NOW < seconds(8)
    assert decisions(mails[0], What.DEFERRED) == ["127.0.0.1 cannot be used: Connection refused"] * 3


def test_a_server_that_is_back_is_used_within_ten_seconds(server: FaultyMailServer) -> None:
    delivery(incident(), person("ann"))
    server.down()
    for second in range(0, 300, 2):
        drain(NOW + seconds(second))
    server.up()
    assert sum(drain(NOW + seconds(second)) for second in range(300, 310, 2)) == 1


def test_a_connection_that_ends_after_data_is_tried_again_with_the_same_id(server: FaultyMailServer) -> None:
    server.mischief.closes_after_data = 1
    server.mischief.keeps_and_closes = 1
    mail = delivery(incident(), person("ann"))

    drain_until_done()

    assert server.tried == 3
    assert [kept.message_id for kept in server.kept] == [f"<{mail.key}@127.0.0.1>"] * 2
    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.ACCEPTED


def test_a_connection_that_ended_between_two_mails_is_opened_again(
    server: FaultyMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = incident()
    for name in ("ann", "bob"):
        delivery(of, person(name))
    accepted = results.accepted

    def accepted_and_then_a_restart(*given: Any) -> bool:
        written = accepted(*given)
        server.down()
        server.up()
        return written

    monkeypatch.setattr(results, "accepted", accepted_and_then_a_restart)
    assert drain(NOW) == 2
    assert (len(server.kept), server.connections) == (2, 2)


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "a byte now and then"])
def test_a_server_that_is_too_slow_is_left_at_the_deadline(
    server: FaultyMailServer, monkeypatch: pytest.MonkeyPatch, settings: Any, drips: bool
) -> None:
    settings.EMAIL_TIMEOUT = 20 if drips else 0.3
    monkeypatch.setattr(outbox, "SEND_WITHIN_S", 0.6)
    server.mischief.delay_s = 0.05 if drips else 30.0
    server.mischief.drips = drips
    mail = delivery(incident(), person("ann"))

    assert drain(NOW) == 0

    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.QUEUED
    assert mail.answer
    assert mail.leased_until is None


def test_what_a_slow_server_leaves_no_time_for_is_given_back_untried(
    server: FaultyMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "START_WITHIN_S", 0.0)
    monkeypatch.setattr(outbox, "DRAIN_S", 0.05)
    mail = delivery(incident(), person("ann"))
    assert drain(NOW) == 0
    mail.refresh_from_db()
    assert (mail.leased_until, mail.attempts) == (None, 0)


# --- Refused for good -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["rcpt", "data"])
def test_an_address_that_is_refused_for_good_is_a_dead_letter_and_bounces(server: FaultyMailServer, at: str) -> None:
    setattr(server.mischief, f"answer_to_{at}", "550 5.1.1 No such user")
    mail = delivery(incident(), person("ann"))

    drain(NOW)

    mail.refresh_from_db()
    assert (mail.status, mail.answer) == (DeliveryStatus.DEAD, "550 5.1.1 No such user")
    assert decisions(mail, What.BOUNCED) == ["Refused for good by 127.0.0.1: 550 5.1.1 No such user"]
    bounce = Bounce.objects.get(address="ann@example.org")
    assert bounce.answer == "550 5.1.1 No such user"
    assert drain(NOW + seconds(3600)) == 0


def test_after_a_dead_letter_the_next_of_the_rota_is_mailed(server: FaultyMailServer) -> None:
    of = incident(a_server())
    assert of.group is not None
    ann, bob = (member(name, of.group, Role.OPERATOR) for name in ("ann", "bob"))
    rota = Rota.objects.create(group=of.group, starts_on=NOW.date())
    for position, one in enumerate([ann, bob]):
        RotaMember.objects.create(rota=rota, person=one, position=position)
    server.mischief.answer_to_rcpt = "550 5.1.1 No such user"
    server.mischief.victims = frozenset({"ann@example.org"})
    delivery(of, ann)

    drain(NOW)
    drain(NOW + seconds(1))

    assert [kept.receiver for kept in server.kept] == ["bob@example.org"]


def test_a_good_mail_goes_over_the_connection_on_which_one_was_refused(server: FaultyMailServer) -> None:
    server.mischief.answer_to_rcpt = "550 5.1.1 No such user"
    server.mischief.victims = frozenset({"ann@example.org"})
    of = incident()
    delivery(of, person("ann"))
    delivery(of, person("bob"))
    assert drain(NOW) == 1
    assert server.connections == 1


@pytest.mark.parametrize("address", ["nobody", "a b@example.org", "a@example.org\r\nRCPT TO:<b@example.org>", "@"])
def test_what_is_no_address_is_a_dead_letter_and_never_reaches_the_server(
    server: FaultyMailServer, address: str
) -> None:
    mail = delivery(incident(), person("ann"), address=address)
    drain(NOW)
    mail.refresh_from_db()
    assert (mail.status, mail.answer) == (DeliveryStatus.DEAD, "This is not an e-mail address.")
    assert server.tried == 0


# --- Leases and order -------------------------------------------------------------------------------------------------


def test_a_claimed_mail_is_nobody_elses_until_its_lease_ends(server: FaultyMailServer) -> None:
    mail = delivery(incident(), person("ann"))
    claim(NOW)  # and then killed
    assert drain(NOW + seconds(59)) == 0
    assert drain(NOW + seconds(61)) == 1
    assert [kept.message_id for kept in server.kept] == [f"<{mail.key}@127.0.0.1>"]


@pytest.mark.parametrize(
    "write",
    [
        lambda row: results.accepted(row, "mail", "250 Ok", NOW),
        lambda row: results.failed(row, "mail", DeliveryError("451 Later"), NOW),
        lambda row: results.failed(row, "mail", DeliveryError("550 Never", permanent=True), NOW),
    ],
    ids=["accepted", "put off", "refused"],
)
def test_whoever_lost_the_lease_writes_nothing(write: Callable[[Delivery], bool]) -> None:
    delivery(incident(), person("ann"))
    (lost,) = claim(NOW)
    (held,) = claim(NOW + seconds(61))
    assert write(lost) is False
    assert not Entry.objects.exists()
    assert write(held) is True


def test_the_recovery_waits_until_the_break_was_accepted(server: FaultyMailServer) -> None:
    of, ann = incident(), person("ann")
    delivery(of, ann)
    delivery(of, ann, DeliveryKind.RECOVERED)
    server.mischief.defers = 1
    drain(NOW)
    assert server.tried == 1
    assert drain(NOW + seconds(10)) == 2
    assert [str(kept.message["Subject"]).split()[0] for kept in server.kept] == ["Critical:", "Recovered:"]


def test_the_recovery_of_somebody_else_does_not_wait(server: FaultyMailServer) -> None:
    of = incident()
    server.mischief.answer_to_rcpt = "451 4.3.0 Later"
    server.mischief.victims = frozenset({"ann@example.org"})
    delivery(of, person("ann"))
    delivery(of, person("bob"), DeliveryKind.RECOVERED)
    assert drain(NOW) == 1


def test_the_order_stays_when_the_account_is_gone(server: FaultyMailServer) -> None:
    of, ann = incident(), person("ann")
    delivery(of, ann)
    delivery(of, ann, DeliveryKind.RECOVERED)
    ann.delete()
    assert [row.kind for row in claim(NOW)] == [DeliveryKind.FIRED]


def test_a_clock_that_went_back_delays_no_mail(server: FaultyMailServer) -> None:
    of = incident()
    delivery(of, person("ann"))
    claimed = delivery(of, person("bob"))
    Delivery.objects.filter(pk=claimed.pk).update(leased_until=NOW + seconds(60), attempts=1)
    assert drain(NOW - timedelta(hours=1)) == 2


def test_a_mail_that_cannot_be_made_does_not_hold_back_the_others(server: FaultyMailServer) -> None:
    of = incident()
    broken = delivery(of, person("ann"), level="unheard of")
    delivery(of, person("bob"))
    assert drain(NOW) == 1
    broken.refresh_from_db()
    assert (broken.status, broken.answer) == (DeliveryStatus.QUEUED, "The mail could not be made: ValueError")


def test_a_drainer_whose_clock_is_behind_takes_nobody_elses_mail(server: FaultyMailServer) -> None:
    delivery(incident(), person("ann"))
    assert len(claim(NOW + seconds(10))) == 1
    assert claim(NOW + seconds(7)) == []


def test_a_mail_that_waited_while_the_portal_was_away_is_tried_more_than_once(server: FaultyMailServer) -> None:
    mail = delivery(incident(), person("ann"))
    server.mischief.defers = 1  # as a server that has only just come back as well
    drain(NOW + timedelta(days=2))
    mail.refresh_from_db()
    assert mail.status == DeliveryStatus.QUEUED


def test_an_account_that_is_deleted_while_its_mail_is_sent_does_not_send_it_again(server: FaultyMailServer) -> None:
    delivery(incident(), person("ann"))
    (row,) = claim(NOW)
    assert row.person is not None
    row.person.delete()
    assert results.accepted(row, "mail", "250 Ok", NOW)
    connection.check_constraints()
    (entry,) = Entry.objects.filter(what=What.ACCEPTED)
    assert (entry.about, entry.about_name) == (None, "ann")
