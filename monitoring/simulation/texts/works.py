"""What servers write of their work when all is well, or nearly."""

from __future__ import annotations

import json
from collections.abc import Callable

from monitoring.logs.line import Level
from monitoring.simulation.texts import MONTHS, Said, Scene

PATHS = (
    *("/", "/products", "/products/{n}", "/cart", "/checkout", "/api/orders", "/api/orders/{n}", "/api/search?q=desk"),
    *("/login", "/static/app.css", "/static/app.js", "/api/users/{n}", "/api/inventory/{n}", "/healthz"),
)
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Safari/605.1",
    "Mozilla/5.0 (Linux; Android 15) Chrome/131.0 Mobile",
    "shop-app/7.4.1 (android)",
    "curl/8.9.1",
)
TABLES = ("orders", "order_items", "users", "sessions", "inventory", "payments", "audit_events")
UNITS = (
    "Started logrotate.service - Rotate log files.",
    "apt-daily.service: Deactivated successfully.",
    "Reloading nginx.service.",
    "Finished fstrim.service - Discard unused blocks.",
)
QUEUES = ("mail", "payments", "thumbnails", "search-index", "invoices")

Writer = Callable[[Scene], Said]


def path(scene: Scene) -> str:
    return scene.random.choice(PATHS).replace("{n}", str(scene.random.randrange(1, 20_000)))


def web(scene: Scene) -> Said:
    """nginx's access log. Errors come as often as they are measured, and are slow when answers are."""
    random, at = scene.random, scene.at
    wrong = random.random() * 100 < max(0.4, 3 * scene.value("error_rate", 0.3))
    slow = random.random() < 0.25
    ms = scene.value("response_p95" if slow else "response_p50", 40) * random.uniform(0.7, 1.4)
    status = (
        random.choice((500, 502, 503, 504))
        if wrong
        else random.choices((200, 304, 302, 404, 403), (78, 10, 6, 5, 1))[0]
    )
    method = "POST" if random.random() < 0.2 else "GET"
    where, size = path(scene), 0 if status in (304, 302) else random.randrange(180, 48_000)
    when = f"{at:%d}/{MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000"
    text = (
        f'{scene.address()} - - [{when}] "{method} {where} HTTP/1.1" {status} {size} "-" "{random.choice(AGENTS)}"'
        f" rt={ms / 1000:.3f}"
    )
    level = Level.ERROR if status >= 500 else Level.WARNING if status == 403 else Level.INFO
    return Said("nginx", level, text, {"status": str(status), "method": method, "path": where.partition("?")[0]})


def json_line(scene: Scene, level: Level, logger: str, message: str, **more: object) -> Said:
    """As a service writes it: an object a line."""
    trace = scene.trace()
    said = {
        "ts": scene.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level.word,
        "logger": logger,
        "msg": message,
        **more,
        "trace_id": trace,
    }
    text = json.dumps(said, ensure_ascii=False)
    return Said("shop", level, text, {"logger": logger, "trace_id": trace})


def app(scene: Scene) -> Said:
    random = scene.random
    number, person = random.randrange(100_000, 999_999), random.randrange(1, 50_000)
    ms = round(scene.value("response_p50", 60) * random.uniform(0.6, 1.6))
    won, order = random.randrange(9, 480) * 1000, f"A-{number}"
    choices: tuple[tuple[float, Callable[[], Said]], ...] = (
        (20, lambda: json_line(scene, Level.INFO, "http", f"GET {path(scene)} 200", duration_ms=ms)),
        (8, lambda: json_line(scene, Level.INFO, "orders", "order placed", order_id=order, user_id=person)),
        (
            6,
            lambda: json_line(
                scene, Level.INFO, "orders", "주문이 접수되었습니다", order_id=order, amount=f"{won:,}원"
            ),
        ),
        (5, lambda: json_line(scene, Level.INFO, "payments", "payment authorised", order_id=order, duration_ms=ms * 3)),
        (3, lambda: json_line(scene, Level.INFO, "auth", "로그인 성공", user_id=person, ip=scene.address())),
        (4, lambda: json_line(scene, Level.DEBUG, "cache", "cache miss", key=f"product:{number}")),
        (3, lambda: json_line(scene, Level.DEBUG, "sql", "query", rows=random.randrange(80), duration_ms=ms // 5)),
        (1.5, lambda: json_line(scene, Level.WARNING, "auth", "로그인 실패: 비밀번호 불일치", user_id=person)),
        (
            1,
            lambda: json_line(
                scene, Level.WARNING, "inventory", "재고가 부족합니다", product_id=number % 20_000, left=2
            ),
        ),
        (1, lambda: json_line(scene, Level.WARNING, "payments", "card declined", order_id=order)),
        (0.3, lambda: json_line(scene, Level.ERROR, "mail", "recipient refused", user_id=person, smtp="550 5.1.1")),
    )
    return random.choices([write for _, write in choices], [weight for weight, _ in choices])[0]()


def postgres(scene: Scene, severity: str, text: str, level: Level) -> Said:
    at = scene.at
    who = "" if severity == "LOG" and not text.startswith("duration") else "shop@shop "
    stamp = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"
    return Said("postgresql", level, f"{stamp} [{scene.pid()}] {who}{severity}:  {text}", {"severity": severity})


def database(scene: Scene) -> Said:
    random, table = scene.random, scene.random.choice(TABLES)
    ms = scene.value("query_time", 6) * random.uniform(8, 40)
    buffers = random.randrange(200, 9000)
    texts = (
        "checkpoint starting: time",
        f"checkpoint complete: wrote {buffers} buffers ({buffers / 164:.1f}%); write={random.uniform(20, 260):.3f} s",
        f'automatic vacuum of table "shop.public.{table}": {random.randrange(20, 40_000)} dead tuples removed',
        f'automatic analyze of table "shop.public.{table}"',
        f"duration: {ms:.3f} ms  statement: SELECT * FROM {table} WHERE id = {random.randrange(1, 900_000)}",  # noqa: S608
        "connection authorized: user=shop database=shop application_name=shop-app",
        f"disconnection: session time: 0:00:{random.randrange(10, 59)} user=shop host={scene.inner_address()}",
    )
    if random.random() < 0.03:
        broken = f'duplicate key value violates unique constraint "{table}_number_key"'
        return postgres(scene, "ERROR", broken, Level.ERROR)
    return postgres(scene, "LOG", random.choice(texts), Level.INFO)


def redis(scene: Scene, mark: str, text: str, level: Level) -> Said:
    at = scene.at
    stamp = f"{at:%d} {MONTHS[at.month - 1]} {at:%Y %H:%M:%S}.{at.microsecond // 1000:03d}"
    return Said("redis", level, f"{scene.pid()}:M {stamp} {mark} {text}")


def cache(scene: Scene) -> Said:
    random = scene.random
    texts = (
        f"{random.randrange(10, 900)} changes in 300 seconds. Saving...",
        f"Background saving started by pid {scene.pid()}",
        "DB saved on disk",
        f"Fork CoW for RDB: current {random.randrange(2, 90)} MB, peak {random.randrange(90, 120)} MB",
        "Background saving terminated with success",
        f"Accepted {scene.inner_address()}:{random.randrange(30_000, 60_000)}",
        f"DB 0: {random.randrange(100_000, 900_000)} keys in 1048576 slots HT.",
    )
    return redis(scene, "*", random.choice(texts), Level.INFO)


def broker(scene: Scene, level: Level, text: str) -> Said:
    at = scene.at
    word = "warning" if level is Level.WARNING else level.word
    stamp = f"{at:%Y-%m-%d %H:%M:%S.%f}+00:00"
    return Said("broker", level, f"{stamp} [{word}] <0.{scene.pid()}.0> {text}", {"node": f"mq@{scene.server_id}"})


def queue(scene: Scene) -> Said:
    random, name = scene.random, scene.random.choice(QUEUES)
    peer = f"{scene.inner_address()}:{random.randrange(30_000, 60_000)}"
    texts = (
        f"accepting AMQP connection ({peer} -> 10.20.0.9:5672)",
        f"connection {peer}: user 'shop' authenticated and granted access to vhost '/'",
        f"queue '{name}': {random.randrange(50, 900)} done, {max(0, round(scene.value('queue_depth', 80)))} wait",
        f"consumer {scene.trace()[:8]} on queue '{name}' started, prefetch {random.choice((1, 10, 50))}",
        f"closing AMQP connection ({peer}): connection closed by the client",
    )
    return broker(scene, Level.INFO, random.choice(texts))


def storage(scene: Scene) -> Said:
    random = scene.random
    client, disk = scene.inner_address(), f"sd{random.choice('abcdefgh')}"
    choices = (
        ("nfsd", f"client {client}: mounted /export/media"),
        ("rsyncd", f"rsync on media/ from {client}: sent {random.randrange(4, 900)} MB, received 0 MB"),
        ("smartd", f"Device: /dev/{disk}, SMART attribute Temperature_Celsius is {random.randrange(31, 46)}"),
        ("scrub", f"pool tank: scrub {random.randrange(1, 99)}% done, 0 errors"),
        ("snapshot", f"tank/media@{scene.at:%Y%m%d-%H%M} taken, {random.randrange(10, 900)} MB changed"),
    )
    source, text = random.choice(choices)
    return Said(source, Level.INFO, text)


def load_balancer(scene: Scene) -> Said:
    random, at = scene.random, scene.at
    wrong = random.random() * 100 < max(0.3, 3 * scene.value("error_rate", 0.2))
    status = random.choice((502, 503, 504)) if wrong else random.choices((200, 304, 301, 404), (84, 8, 4, 4))[0]
    ms = round(scene.value("response_p95", 12) * random.uniform(0.3, 1.6))
    behind = f"web-{random.randrange(1, 10):02d}"
    where = path(scene)
    when = f"{at:%d}/{MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S}.{at.microsecond // 1000:03d}"
    text = (
        f"{scene.address()}:{random.randrange(1024, 65_000)} [{when}] https~ web/{behind} 0/0/1/{ms}/{ms + 1} {status}"
        f' {random.randrange(200, 40_000)} - - ---- "GET {where} HTTP/2.0"'
    )
    return Said(
        "haproxy", Level.ERROR if wrong else Level.INFO, text, {"status": str(status), "backend": f"web/{behind}"}
    )


def machine(scene: Scene) -> Said:
    """What every machine writes beside its work."""
    random, pid = scene.random, scene.pid()
    person, address = random.choice(("deploy", "backup", "jiwoo", "minjun", "anna")), scene.address()
    port = pid + 20_000
    tcp = "TCP: request_sock_TCP: Possible SYN flooding on port 443. Sending cookies."
    choices = (
        (4, Said("sshd", Level.INFO, f"Accepted publickey for {person} from {address} port {port} ssh2: ED25519")),
        (3, Said("sshd", Level.INFO, f"pam_unix(sshd:session): session closed for user {person}")),
        (2, Said("sshd", Level.WARNING, f"Failed password for invalid user admin from {address} port {port} ssh2")),
        (5, Said("CRON", Level.INFO, f"({person}) CMD (/usr/local/bin/rotate-media --keep 7)")),
        (4, Said("systemd", Level.INFO, random.choice(UNITS))),
        (2, Said("kernel", Level.INFO, f"[{scene.at_ns // 10**9 % 900_000}.{random.randrange(10**6):06d}] {tcp}")),
        (2, Said("chronyd", Level.DEBUG, f"Selected source {address} (time.example.org)")),
    )
    return random.choices([said for _, said in choices], [weight for weight, _ in choices])[0]


WORKS: dict[str, Writer] = {
    "web": web,
    "app": app,
    "database": database,
    "cache": cache,
    "queue": queue,
    "storage": storage,
    "load-balancer": load_balancer,
}
"""By the template's name; servers of others write what every machine does."""
