"""What was measured arrives, whatever happens to the portal, to the agent and to the way between them."""

from __future__ import annotations

import email.utils
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.agent.conftest import TOKEN, Catcher, Frame, Machine, Reply, kept, wait_until


def instants(frames: list[Frame]) -> set[float]:
    return {frame["at"] for frame in frames}


def test_it_sends_whole_frames_with_its_token(machine: Machine, catcher: Catcher) -> None:
    machine.start("--kind", "web")
    wait_until(lambda: len(catcher.taken) >= 2, "two frames")
    first = catcher.taken[0]
    assert (first["host"], first["kind"], first["interval"]) == ("web-1", "web", 1)
    assert {"cpu", "memory", "disk", "net_rx", "load1"} <= first["metrics"].keys(), "rates are there from the first"
    assert catcher.paths[0] == "/api/push"
    assert catcher.headers[0]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to_even_while_the_portal_hangs(
    machine: Machine, catcher: Catcher, number: signal.Signals
) -> None:
    answering = threading.Event()
    catcher.answer = lambda frames: (answering.wait(60), kept(frames))[1]
    started = machine.start()
    wait_until(lambda: catcher.bodies, "a request")
    started.process.send_signal(number)
    assert started.process.wait(10) == 0, "it does not wait for the answer"
    answering.set()
    assert len(machine.lines()) >= 1, "what was not answered is kept"


def test_nothing_is_missing_after_the_portal_was_away(machine: Machine, catcher: Catcher) -> None:
    started = machine.start()
    wait_until(lambda: catcher.taken, "a frame")
    catcher.close()
    waiting = wait_until(lambda: len(lines := machine.lines()) >= 3 and lines, "frames that wait")
    assert "nothing listens there" in started.said()
    catcher.open()
    wanted = {json.loads(line)["at"] for line in waiting}
    wait_until(lambda: wanted <= instants(catcher.taken), "all that waited")
    wait_until(lambda: "the portal answers again" in started.said(), "a word about it")
    wait_until(lambda: not machine.lines(), "an empty spool")


def test_nothing_that_waits_is_lost_by_a_kill_and_half_a_line_is_left_out(machine: Machine, catcher: Catcher) -> None:
    catcher.close()
    started = machine.start()
    waiting = wait_until(lambda: len(lines := machine.lines()) >= 2 and lines, "frames that wait")
    started.kill()
    newest = max(machine.spool.glob("frames-*"))
    with newest.open("a") as file:
        file.write('{"host":"web-1","at":1,"metrics":{"cp')
    catcher.open()
    started = machine.start()
    wanted = {json.loads(line)["at"] for line in waiting}
    wait_until(lambda: wanted < instants(catcher.taken), "what waited, and something new")
    assert 1 not in instants(catcher.taken)
    assert "only half written" in started.said()


def test_a_second_agent_does_not_take_the_first_ones_spool(machine: Machine, catcher: Catcher) -> None:
    machine.start()
    wait_until(lambda: catcher.taken, "a frame")
    second = machine.start()
    assert second.process.wait(10) == 1
    assert "another agent uses" in second.said()


def test_it_sends_without_a_disk_to_write_to(machine: Machine, catcher: Catcher) -> None:
    nowhere = machine.home / "token" / "under-a-file"
    started = machine.start("--spool", str(nowhere))
    wait_until(lambda: len(catcher.taken) >= 2, "two frames")
    assert "frames cannot wait on the disk" in started.said()
    assert "Traceback" not in started.said()


# --- One request at a time --------------------------------------------------------------------------------------------


@pytest.fixture
def sender(agent: ModuleType, catcher: Catcher, make_spool: MakeSpool) -> Any:
    """A sender whose thread does not run."""
    return agent.Sender(agent.Outbox(make_spool()), agent.Portal(catcher.url, lambda: TOKEN))


MakeSpool = Callable[..., Any]


@pytest.fixture
def make_spool(agent: ModuleType, tmp_path: Path) -> Iterator[MakeSpool]:
    """Spools in the same folder, as one process after the other has them."""
    made = []

    def make(most_bytes: int = 64 << 20, folder: Path = tmp_path / "spool") -> Any:
        made.append(agent.Spool(str(folder), most_bytes))
        return made[-1]

    yield make
    for spool in made:
        spool.close()


def frame(at: float, **metrics: float) -> bytes:
    return json.dumps({"host": "web-1", "at": at, "interval": 1, "metrics": metrics or {"cpu": 1.0}}).encode()


def put(sender: Any, *frames: bytes) -> None:
    for each in frames:
        sender._outbox.put(each)


def waiting(sender: Any) -> int:
    return len(sender._outbox.batch(100_000))


def until_empty(sender: Any) -> None:
    for _ in range(200):
        if sender.step() is None:
            return
    raise AssertionError("it never ended")


def answering(status: int, said: dict[str, Any] | bytes = b"", **headers: str) -> Callable[[list[Frame]], Reply]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda _: (status, said, named)


def test_after_an_outage_the_newest_go_first_and_then_the_oldest(sender: Any, catcher: Catcher) -> None:
    sender.MOST = sender._most = 40
    put(sender, *(frame(at) for at in range(100)))
    until_empty(sender)
    order = [int(each["at"]) for each in catcher.taken]
    assert order == [*range(90, 100), *range(90)]
    assert [len(body) for body in catcher.bodies] == [40, 40, 20]


@pytest.mark.parametrize(
    ("reply", "least_s", "most_s"),
    [
        (answering(401, {"error": "unauthorized", "message": "nobody knows this token"}), 30, 60),
        (answering(403, {"error": "forbidden", "message": "this token is switched off"}), 30, 60),
        (answering(404, b"<h1>Not Found</h1>"), 30, 60),
        (answering(302, b"", Location="https://login.example.org/"), 30, 60),
        (answering(200, b"<h1>Welcome to the hotel's network</h1>"), 30, 60),
        (answering(400, b"Bad Request (a proxy)"), 30, 60),
        (answering(400, {"error": "bad request", "message": "a gateway's"}), 30, 60),
        (answering(429, {"error": "busy"}, Retry_After="7"), 7, 8),
        (answering(503, {"error": "database_away"}, Retry_After="5"), 5, 6),
        (answering(503, b"", Retry_After="999999"), 3600, 3601),
        (answering(503, b""), 0.5, 1),
        (answering(502, b"<h1>Bad Gateway</h1>"), 0.5, 1),
        (answering(500, b""), 0.5, 1),
    ],
)
def test_what_was_not_taken_waits_as_long_as_it_should(
    sender: Any, catcher: Catcher, reply: Any, least_s: float, most_s: float
) -> None:
    catcher.answer = reply
    put(sender, frame(1), frame(2))
    assert least_s <= sender.step() <= most_s
    assert waiting(sender) == 2


def test_a_date_is_understood_as_when_to_come_back(sender: Any, catcher: Catcher) -> None:
    catcher.answer = answering(503, b"", Retry_After=email.utils.formatdate(time.time() + 100, usegmt=True))
    put(sender, frame(1))
    assert 90 <= sender.step() <= 102


def test_it_comes_back_more_and_more_slowly_while_nobody_answers(sender: Any, catcher: Catcher) -> None:
    catcher.close()
    put(sender, frame(1))
    waits = [sender.step() for _ in range(12)]
    assert waits[0] <= 1
    assert 30 <= waits[-1] <= 60
    assert waiting(sender) == 1


def test_the_token_goes_to_nobody_but_the_portal(sender: Any, catcher: Catcher) -> None:
    other = Catcher()
    other.open()
    catcher.answer = answering(307, b"", Location=f"{other.url}/api/push")
    put(sender, frame(1))
    sender.step()
    other.close()
    assert other.bodies == []


def test_why_the_token_is_refused_is_said_once(sender: Any, catcher: Catcher, capsys: Any) -> None:
    catcher.answer = answering(401, {"error": "unauthorized", "message": "nobody knows this token"})
    put(sender, frame(1))
    for _ in range(3):
        sender.step()
    assert capsys.readouterr().err.count("the portal refuses the token (401, nobody knows this token)") == 1


def test_a_verdict_part_by_part_is_final(sender: Any, catcher: Catcher, capsys: Any) -> None:
    refused = [{"where": "[0].metrics.cpu", "reason": "no number", "count": 1}]
    verdict = {"error": "partly_refused", "message": "…", "kept": 1, "gaps": 0, "refused": refused, "refused_count": 1}
    catcher.answer = answering(400, verdict)
    put(sender, frame(1), frame(2))
    sender.step()
    assert waiting(sender) == 0
    assert "[0].metrics.cpu: no number" in capsys.readouterr().err


def test_one_frame_that_spoils_a_body_is_found_and_the_others_arrive(sender: Any, catcher: Catcher) -> None:
    whole = {"error": "bad_body", "message": "the body is not JSON", "kept": 0, "refused": [], "refused_count": 0}

    def answer(frames: list[Frame]) -> Reply:
        return (400, whole, {}) if any("poison" in each["metrics"] for each in frames) else kept(frames)

    catcher.answer = answer
    put(sender, *(frame(at, **({"poison": 1} if at == 21 else {})) for at in range(40)))
    until_empty(sender)
    assert instants(catcher.taken) == set(range(40)) - {21}


def test_what_is_too_big_goes_in_smaller_portions(sender: Any, catcher: Catcher) -> None:
    catcher.answer = lambda frames: (413, {"error": "too_large"}, {}) if len(frames) > 4 else kept(frames)
    put(sender, *(frame(at) for at in range(50)))
    until_empty(sender)
    assert instants(catcher.taken) == set(range(50))


def test_a_frame_that_is_too_big_alone_is_dropped(sender: Any, catcher: Catcher, capsys: Any) -> None:
    catcher.answer = answering(413, {"error": "too_large"})
    put(sender, frame(1))
    until_empty(sender)
    assert "too big" in capsys.readouterr().err


def test_a_clock_that_is_wrong_is_told(sender: Any, catcher: Catcher, capsys: Any) -> None:
    catcher.ahead_s = 600
    put(sender, frame(1))
    until_empty(sender)
    assert "10 min behind the portal's" in capsys.readouterr().err


# --- The spool --------------------------------------------------------------------------------------------------------


def spool_lines(spool: Any) -> list[bytes]:
    """All of it, forgetting it."""
    lines: list[bytes] = []
    while some := spool.peek(50):
        lines += some
        spool.forget(set(some))
    return lines


def test_a_spool_that_is_full_drops_the_oldest_and_says_so(
    agent: ModuleType, make_spool: MakeSpool, tmp_path: Path, capsys: Any
) -> None:
    agent.Spool.SEGMENT_BYTES = 10_000
    spool = make_spool(30_000)
    lines = [frame(at) for at in range(1000)]
    for line in lines:
        spool.append(line)
    assert sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) <= 30_000
    left = spool_lines(spool)
    assert left == lines[-len(left) :]
    said = capsys.readouterr().err.splitlines()
    assert sum(int(line.split("oldest ")[1].split()[0]) for line in said) == 1000 - len(left)


def test_what_waited_three_days_is_dropped(make_spool: MakeSpool, tmp_path: Path, capsys: Any) -> None:
    before = make_spool()
    before.append(frame(1))
    before.close()
    old = time.time() - 4 * 86_400
    os.utime(next((tmp_path / "spool").iterdir()), (old, old))
    spool = make_spool()
    spool.append(frame(2))
    assert spool_lines(spool) == [frame(2)]
    assert "waited three days" in capsys.readouterr().err


@pytest.mark.parametrize("years", [-50, 50])
def test_a_clock_that_jumps_stalls_nothing(make_spool: MakeSpool, monkeypatch: Any, years: int) -> None:
    """A spool in use does not look at the machine's clock; one that is found cannot be from the future."""
    spool = make_spool()
    spool.append(frame(1))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + years * 366 * 86_400)
    spool.append(frame(2))
    assert spool.peek(10) == [frame(1), frame(2)]
    found = make_spool()
    found.append(frame(3))
    assert found.peek(10)[0] == (frame(1) if years < 0 else frame(3))


def test_an_empty_file_of_an_earlier_life_holds_up_nothing(make_spool: MakeSpool) -> None:
    before = make_spool()
    before.append(frame(1))
    spool_lines(before)
    before.close()
    spool = make_spool()
    spool.append(frame(2))
    assert spool_lines(spool) == [frame(2)]


def test_files_into_which_nothing_could_be_written_hold_up_nothing(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool._begin()
    spool._end()  # as after a write that found the disk full
    spool.append(frame(1))
    assert spool_lines(spool) == [frame(1)]


def test_what_is_in_the_spool_is_only_for_its_owner(make_spool: MakeSpool, tmp_path: Path) -> None:
    make_spool().append(frame(1))
    folder = tmp_path / "spool"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert next(folder.iterdir()).stat().st_mode & 0o777 == 0o600


def test_without_a_disk_a_few_hundred_frames_can_wait(agent: ModuleType, make_spool: MakeSpool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outbox = agent.Outbox(make_spool(folder=tmp_path / "file" / "spool"))
    lines = [frame(at) for at in range(400)]
    for line in lines:
        outbox.put(line)
    assert set(outbox.batch(1000)) == set(lines[-360:])
