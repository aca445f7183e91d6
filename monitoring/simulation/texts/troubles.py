"""What servers write of trouble, by the metric that shows it: the line that explains the spike."""

from __future__ import annotations

from monitoring.logs.line import Level
from monitoring.simulation.texts import Said, Scene
from monitoring.simulation.texts.works import QUEUES, TABLES, Writer, broker, json_line, path, postgres, redis

PROGRAMS = {"web": "nginx", "app": "java", "database": "postgres", "cache": "redis-server"}


def _kernel(scene: Scene, level: Level, text: str) -> Said:
    since = f"{scene.at_ns // 10**9 % 900_000}.{scene.at_ns // 1000 % 10**6:06d}"
    return Said("kernel", level, f"[{since}] {text}")


def _nginx_error(scene: Scene, level: Level, text: str) -> Said:
    word = "error" if level is Level.ERROR else "warn"
    request = f'client: {scene.address()}, server: shop.example.org, request: "GET {path(scene)} HTTP/1.1"'
    when = f"{scene.at:%Y/%m/%d %H:%M:%S}"
    return Said("nginx", level, f"{when} [{word}] {scene.pid()}#0: *{scene.random.randrange(10**6)} {text}, {request}")


def _busy(scene: Scene) -> Said:
    cpu = scene.value("cpu", 90)
    return Said("systemd", scene.level("cpu"), f"shop.service: CPU at {cpu:.0f}% for 5 s, {cpu / 12:.1f} tasks wait")


def _soft_lockup(scene: Scene) -> Said:
    core, seconds = scene.random.randrange(8), scene.random.randrange(21, 60)
    return _kernel(
        scene,
        scene.level("cpu"),
        f"watchdog: BUG: soft lockup - CPU#{core} stuck for {seconds}s! [worker:{scene.pid()}]",
    )


def _pool_full(scene: Scene) -> Said:
    waiting = round(20 + 180 * scene.heat("cpu"))
    return json_line(
        scene,
        scene.level("cpu"),
        "pool",
        "all worker threads are busy",
        active=64,
        waiting=waiting,
        load=f"{scene.value('load1', 9):.1f}",
    )


def _gc(scene: Scene) -> Said:
    pause = round(300 + 2500 * scene.heat("memory"))
    return json_line(
        scene,
        scene.level("memory"),
        "gc",
        "long garbage collection pause",
        pause_ms=pause,
        heap_used_pct=round(scene.value("memory", 92)),
    )


def _out_of_memory(scene: Scene) -> Said:
    program = scene.random.choice(list(PROGRAMS.values()))
    size = round(scene.value("memory_total", 8192) * 1024 * 0.7)
    if scene.heat("memory") > 0.5:
        killed = f"Out of memory: Killed process {scene.pid()} ({program}) total-vm:{size * 2}kB, anon-rss:{size}kB"
        return _kernel(scene, Level.ERROR, killed)
    return _kernel(scene, Level.WARNING, f"{program} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0")


def _heap(scene: Scene) -> Said:
    """With its stack trace."""
    return Said(
        "shop",
        Level.ERROR,
        f"{scene.at:%Y-%m-%dT%H:%M:%S}Z ERROR [http-{scene.pid() % 64}] request failed\n"
        "java.lang.OutOfMemoryError: Java heap space\n"
        "\tat com.example.shop.cart.CartService.load(CartService.java:118)\n"
        "\tat com.example.shop.cart.CartController.show(CartController.java:42)\n"
        "\t... 31 more",
        {"logger": "http"},
    )


def _disk_full(scene: Scene) -> Said:
    share = scene.value("disk", 95)
    if scene.heat("disk") > 0.5:
        return _kernel(
            scene, Level.ERROR, f"EXT4-fs (sda1): No space left on device, {share:.0f}% used: data will be lost"
        )
    return Said("systemd-journald", Level.WARNING, f"/var is {share:.0f}% full: old journal files are removed")


def _disk_full_database(scene: Scene) -> Said:
    file = f"base/16401/{scene.random.randrange(16_500, 99_000)}"
    return postgres(scene, "PANIC", f'could not write to file "{file}": No space left on device', Level.ERROR)


def _swapping(scene: Scene) -> Said:
    return _kernel(
        scene, scene.level("swap"), f"kswapd0: page allocation stalls for {scene.random.randrange(10, 90)}0ms, order:0"
    )


def _upstream(scene: Scene) -> Said:
    upstream = f'upstream: "http://{scene.inner_address()}:8080{path(scene)}"'
    said = "upstream timed out (110: Connection timed out) while reading response header from upstream"
    return _nginx_error(scene, scene.level("response_p95"), f"{said}, {upstream}")


def _slow_request(scene: Scene) -> Said:
    ms = round(scene.value("response_p95", 900) * scene.random.uniform(1, 2.2))
    message = scene.random.choice(("slow request", "데이터베이스 응답을 기다리는 중 시간이 초과되었습니다"))
    return json_line(scene, scene.level("response_p95"), "http", message, path=path(scene), duration_ms=ms)


def _backend_down(scene: Scene) -> Said:
    behind = f"web-{scene.random.randrange(1, 10):02d}"
    text = (
        f"Server web/{behind} is DOWN, reason: Layer7 timeout, check duration: {scene.random.randrange(2000, 5000)}ms"
    )
    return Said("haproxy", Level.ERROR, text, {"backend": f"web/{behind}"})


def _failing(scene: Scene) -> Said:
    return _nginx_error(scene, Level.ERROR, "connect() failed (111: Connection refused) while connecting to upstream")


def _failing_app(scene: Scene) -> Said:
    text = scene.random.choice(
        ("unhandled exception: connection to database lost", "결제 요청이 실패했습니다: 게이트웨이 응답 없음")
    )
    return json_line(scene, Level.ERROR, "http", text, path=path(scene), status=500)


def _slow_query(scene: Scene) -> Said:
    table, ms = scene.random.choice(TABLES), scene.value("query_time", 40) * scene.random.uniform(60, 220)
    join = "JOIN users u ON u.id = t.user_id ORDER BY t.created_at DESC"
    statement = f"SELECT t.*, u.name FROM {table} t {join}"  # noqa: S608 (it is only a text)
    return postgres(scene, "LOG", f"duration: {ms:.3f} ms  statement: {statement}", scene.level("query_time"))


def _too_many(scene: Scene) -> Said:
    return postgres(scene, "FATAL", "sorry, too many clients already", scene.level("db_connections"))


def _locked(scene: Scene) -> Said:
    one, other, table = scene.pid(), scene.pid() + 1, scene.random.choice(TABLES)
    if scene.heat("db_locks") > 0.5:
        return postgres(scene, "ERROR", f"deadlock detected: process {one} waits for process {other}", Level.ERROR)
    waited = f"1000.{scene.random.randrange(999):03d} ms"
    waits = f'process {one} still waiting for ShareLock on relation "{table}" after {waited}'
    return postgres(scene, "LOG", waits, Level.WARNING)


def _lagging(scene: Scene) -> Said:
    lag = scene.value("replication_lag", 3)
    return postgres(scene, "LOG", f"replica db-2 is {lag:.1f} s behind", scene.level("replication_lag"))


def _evicting(scene: Scene) -> Said:
    count = round(scene.value("evictions", 20))
    return redis(
        scene, "#", f"maxmemory reached: {count} keys evicted a second (allkeys-lru)", scene.level("evictions")
    )


def _cold_cache(scene: Scene) -> Said:
    return redis(scene, "#", f"hit rate is {scene.value('cache_hit', 80):.1f}%", scene.level("cache_hit"))


def _piling_up(scene: Scene) -> Said:
    depth = round(scene.value("queue_depth", 500))
    name = scene.random.choice(QUEUES)
    if scene.heat("queue_depth") > 0.5:
        return broker(
            scene, Level.ERROR, f"queue '{name}': {depth} messages wait, publishers are blocked (flow control)"
        )
    return broker(scene, Level.WARNING, f"queue '{name}': {depth} messages wait, consumers do not keep up")


def _waiting_long(scene: Scene) -> Said:
    age = scene.value("queue_age", 30)
    return broker(
        scene, scene.level("queue_age"), f"queue '{scene.random.choice(QUEUES)}': oldest message is {age:.1f} s old"
    )


TROUBLES: dict[str, dict[str, tuple[Writer, ...]]] = {
    "cpu": {"": (_busy, _soft_lockup), "app": (_busy, _pool_full), "web": (_busy, _soft_lockup)},
    "memory": {"": (_out_of_memory,), "app": (_gc, _out_of_memory, _heap)},
    "disk": {"": (_disk_full,), "database": (_disk_full, _disk_full_database)},
    "swap": {"": (_swapping,)},
    "response_p95": {"": (_upstream,), "app": (_slow_request,), "load-balancer": (_backend_down,)},
    "error_rate": {"": (_failing,), "app": (_failing_app,), "load-balancer": (_backend_down,)},
    "query_time": {"": (_slow_query,)},
    "db_connections": {"": (_too_many,)},
    "db_locks": {"": (_locked,)},
    "replication_lag": {"": (_lagging,)},
    "evictions": {"": (_evicting,)},
    "cache_hit": {"": (_cold_cache,)},
    "queue_depth": {"": (_piling_up,)},
    "queue_age": {"": (_waiting_long,)},
}
"""By metric, then by the template's name ("": any other)."""
