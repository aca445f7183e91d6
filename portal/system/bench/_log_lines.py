"""Lines as servers write them: web access, applications, the system, Korean, stack traces; from one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from monitoring.logs.line import Level, Line

_PATHS = [f"/api/v{v}/{what}" for v in (1, 2) for what in ("orders", "users", "carts", "search", "payments", "items")]
_AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "curl/8.7.1",
    "kube-probe/1.29",
]
_STATUS = [200] * 90 + [204, 301, 304, 304, 400, 401, 404, 404, 500, 503]
_SAID = [
    (Level.INFO, "request finished"),
    (Level.INFO, "cache miss, reading from database"),
    (Level.INFO, "message published to queue"),
    (Level.DEBUG, "pool has idle connections"),
    (Level.DEBUG, "feature flag evaluated"),
    (Level.WARNING, "slow query took longer than expected"),
    (Level.WARNING, "retrying after connection reset by peer"),
    (Level.ERROR, "upstream timed out while reading response header"),
]
_SYSTEM = [
    (Level.INFO, "sshd", "Accepted publickey for deploy from {ip} port {port} ssh2: ED25519 SHA256:{word}"),
    (Level.INFO, "systemd", "Started session-{number}.scope - Session {number} of User deploy."),
    (Level.INFO, "CRON", "({user}) CMD (/usr/local/bin/rotate --keep {small} >/dev/null 2>&1)"),
    (Level.WARNING, "kernel", "TCP: request_sock_TCP: Possible SYN flooding on port {port}. Sending cookies."),
    (Level.ERROR, "postgres", "FATAL:  remaining connection slots are reserved, pid {number}, user {user}"),
    (Level.DEBUG, "dhclient", "DHCPREQUEST on eth0 to {ip} port 67 (xid=0x{word})"),
]
_KOREAN = [
    (Level.INFO, "주문 {number}번이 접수되었습니다. 결제 수단: 카드, 금액 {port}원"),
    (Level.INFO, "사용자 {user}님이 로그인했습니다 (IP {ip})"),
    (Level.WARNING, "서버 응답이 느립니다: {small}초 걸렸습니다"),
    (Level.ERROR, "데이터베이스 연결에 실패했습니다. {small}초 후 다시 시도합니다"),
    (Level.DEBUG, "캐시가 갱신되었습니다 키={word}"),
]
_TRACE = (
    "Traceback (most recent call last):\n"
    '  File "/srv/app/orders/views.py", line {small}, in checkout\n    order = place(cart, user_id={number})\n'
    '  File "/srv/app/orders/service.py", line {port}, in place\n    raise PaymentDeclined(reference)\n'
    "orders.errors.PaymentDeclined: reference {word} was declined by the bank"
)
_USERS = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "mallory", "trent"]


def lines(server_ids: Sequence[int], start_ns: int, end_ns: int, count: int, seed: int) -> list[Line]:
    """`count` lines from start_ns on to end_ns, in order."""
    chosen = random.Random(seed)  # noqa: S311
    step = (end_ns - start_ns) // count
    kinds = chosen.choices((_access, _application, _system, _korean, _trace), (35, 30, 20, 10, 1), k=count)
    servers = chosen.choices(server_ids, k=count)
    return [
        kind(chosen, server_id, start_ns + number * step + chosen.randrange(step))
        for number, (kind, server_id) in enumerate(zip(kinds, servers, strict=True))
    ]


def raw_bytes(some: Sequence[Line]) -> int:
    """What the lines are as text: level, source, text and fields as they would stand in a file."""
    return sum(
        len(line.text.encode())
        + len(line.source)
        + sum(len(name) + len(said) + 2 for name, said in line.fields.items())
        for line in some
    )


def _ip(chosen: random.Random) -> str:
    number = chosen.getrandbits(16)
    return f"10.{number >> 12}.{number >> 8 & 15}.{number & 255}"


def _access(chosen: random.Random, server_id: int, at_ns: int) -> Line:
    status = chosen.choice(_STATUS)
    level = Level.ERROR if status >= 500 else Level.WARNING if status >= 400 else Level.INFO
    at = datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    path = f"{chosen.choice(_PATHS)}/{chosen.getrandbits(20)}"
    text = (
        f'{_ip(chosen)} - - [{at}] "GET {path} HTTP/1.1" {status} {chosen.getrandbits(14)} "-" '
        f'"{chosen.choice(_AGENTS)}" {chosen.random():.3f}'
    )
    return Line(server_id, at_ns, level, "nginx", text)


def _application(chosen: random.Random, server_id: int, at_ns: int) -> Line:
    level, said = chosen.choice(_SAID)
    fields = {
        "logger": chosen.choice(("shop.orders", "shop.cart", "shop.search", "shop.payments")),
        "trace_id": f"{chosen.getrandbits(64):016x}",
        "duration_ms": str(chosen.getrandbits(10)),
        "user": chosen.choice(_USERS),
        "status": str(chosen.choice(_STATUS)),
    }
    return Line(server_id, at_ns, level, "shop", f"{said} path={chosen.choice(_PATHS)}", fields)


def _parts(chosen: random.Random) -> dict[str, str]:
    return {
        "ip": _ip(chosen),
        "port": str(chosen.getrandbits(16)),
        "number": str(chosen.getrandbits(20)),
        "small": str(chosen.getrandbits(6)),
        "word": f"{chosen.getrandbits(40):010x}",
        "user": chosen.choice(_USERS),
    }


def _system(chosen: random.Random, server_id: int, at_ns: int) -> Line:
    level, source, said = chosen.choice(_SYSTEM)
    return Line(server_id, at_ns, level, source, said.format_map(_parts(chosen)))


def _korean(chosen: random.Random, server_id: int, at_ns: int) -> Line:
    level, said = chosen.choice(_KOREAN)
    return Line(server_id, at_ns, level, "주문", said.format_map(_parts(chosen)))


def _trace(chosen: random.Random, server_id: int, at_ns: int) -> Line:
    return Line(server_id, at_ns, Level.ERROR, "shop", _TRACE.format_map(_parts(chosen)))
