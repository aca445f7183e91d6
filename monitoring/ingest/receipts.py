"""A push that may be sent twice although nothing in it says when: the key that its sender gave it tells them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from django.utils import timezone

from monitoring.ingest.points import BadBodyError
from monitoring.models import PushReceipt, PushToken
from portal.toolkit.intake import Answer

KEPT = timedelta(hours=24)
MAX_KEY = 200


def once(token: PushToken, key: str, body: bytes, keep: Callable[[datetime], Answer]) -> Answer:
    """`keep(now)`, or the answer that it gave to the same body with this key in the last KEPT.

    `now` is when the key came first, and committed before anything is kept: whoever repeats the request after a kill at
    any moment writes the same samples of the same instants, which are there or are not, but never twice. Raises
    BadBodyError when the key came with another body, and OperationalError. Two queries more than without; one for a
    repetition.
    """
    if len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise BadBodyError(f"an Idempotency-Key has at most {MAX_KEY} visible ASCII characters")
    receipt = _receipt(token, key, hashlib.sha256(body).hexdigest())
    if receipt.status is not None:
        return Answer(receipt.status, receipt.answer or b"", {"idempotency-replayed": "true"})
    answer = keep(receipt.at)
    PushReceipt.objects.filter(pk=receipt.pk).update(status=answer.status, answer=answer.body)
    return answer


def forget_old(now: datetime) -> None:
    PushReceipt.objects.filter(at__lt=now - KEPT).delete()


def _receipt(token: PushToken, key: str, digest: str) -> PushReceipt:
    receipt, _made = PushReceipt.objects.get_or_create(
        token=token, key=key, defaults={"body_digest": digest, "at": timezone.now()}
    )
    if receipt.body_digest != digest:
        raise BadBodyError("this Idempotency-Key was used with another body")
    return receipt
