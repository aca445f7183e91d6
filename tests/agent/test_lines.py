"""Lines that others write: followed through rotation and restarts, sent once each, in their order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.agent.conftest import LINES_PATH, Catcher, Machine, Reply, lines_of, no_content, wait_until

MAX = 64 << 10
Following = Callable[..., Any]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file that is there already, and has a line of long ago."""
    path = tmp_path / "logs" / "app.log"
    path.parent.mkdir()
    path.write_text("of long ago\n")
    return path


@pytest.fixture
def following(agent: ModuleType, tmp_path: Path) -> Iterator[Following]:
    """Followers of logs/*.log that look for new files each time, and wait for nothing."""
    agent.Files.SCAN_S = agent.Files.LEFT_S = agent.Followed.JOIN_S = -1
    made = []

    def follow(remembered: dict[str, Any] | None = None, **options: Any) -> Any:
        files = agent.Files([("", str(tmp_path / "logs" / "*.log"))], remembered or {}, **options)
        if not remembered:
            files.poll(MAX)
        made.append(files)
        return files

    yield follow
    for files in made:
        files.close()


def append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def texts(files: Any) -> list[str]:
    """What is handed on until nothing more comes."""
    found: list[str] = []
    quiet = 0
    while quiet < 3:
        entries = files.poll(MAX)
        quiet = 0 if entries else quiet + 1
        found += [entry.text for entry in entries]
    return found


def again(files: Any) -> dict[str, Any]:
    """What another life is told, by way of a file."""
    told: dict[str, Any] = json.loads(json.dumps(files.remembered()))
    return told


# --- Files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_followed_from_its_end(following: Following, log: Path) -> None:
    files = following()
    append(log, "one\ntwo\r\n\nthree\n")
    assert texts(files) == ["one", "two", "three"]


def test_what_was_there_before_comes_when_it_is_asked_for(following: Following, log: Path) -> None:
    assert texts(following(from_start=True)) == ["of long ago"]


def test_half_a_line_is_waited_for(following: Following, log: Path) -> None:
    append(log, "its first ha")
    files = following()
    append(log, "lf\nthe next")
    assert texts(files) == ["its first half"]
    append(log, " line\n")
    assert texts(files) == ["the next line"]


def test_a_new_file_is_read_from_its_begin(following: Following, log: Path) -> None:
    files = following()
    (log.parent / "other.log").write_text("first\n")
    assert texts(files) == ["first"]


def test_packed_files_are_left_alone(agent: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "old.log.gz").write_text("packed\n")
    assert texts(agent.Files([("", str(tmp_path / "*"))], {}, from_start=True)) == []


def test_a_file_that_is_renamed_is_read_to_its_end_and_then_the_new_one(following: Following, log: Path) -> None:
    files = following()
    append(log, "one\n")
    log.rename(log.with_suffix(".log.1"))
    log.write_text("three\n")
    append(log.with_suffix(".log.1"), "two\n")
    assert sorted(texts(files)) == ["one", "three", "two"]


def test_the_last_line_of_a_file_that_is_over_needs_no_end(following: Following, log: Path) -> None:
    files = following()
    append(log, "without an end")
    log.unlink()
    assert texts(files) == ["without an end"]


@pytest.mark.parametrize("more", ["", " that is longer than all that was there before"])
def test_a_file_that_is_emptied_begins_anew(following: Following, log: Path, more: str) -> None:
    files = following()
    append(log, "one\n")
    assert texts(files) == ["one"]
    log.write_text(f"two{more}\n")
    assert texts(files) == [f"two{more}"]


def test_another_life_goes_on_where_the_former_ended(following: Following, log: Path) -> None:
    files = following()
    append(log, "one\n")
    assert texts(files) == ["one"]
    told = again(files)
    append(log, "two\n")
    assert texts(following(told)) == ["two"]


def test_what_was_rotated_while_nobody_looked_is_read_to_its_end(following: Following, log: Path) -> None:
    files = following()
    append(log, "one\n")
    assert texts(files) == ["one"]
    told = again(files)
    append(log, "two\n")
    log.rename(log.with_suffix(".log.1"))
    log.write_text("three\n")
    assert sorted(texts(following(told))) == ["three", "two"]


def test_a_number_that_a_new_file_got_again_does_not_hide_its_first_lines(following: Following, log: Path) -> None:
    told = again(following())
    for place in told["places"]:
        place["head"] = "of another file with the same number"
    assert texts(following(told)) == ["of long ago"]


def test_a_line_that_is_followed_is_not_remembered_before_it_was_handed_on(following: Following, log: Path) -> None:
    files = following()
    append(log, "one\nnot yet over")
    assert texts(files) == ["one"]
    told = again(files)
    append(log, " but now\n")
    assert texts(following(told)) == ["not yet over but now"]


def test_bytes_that_are_no_utf8_are_replaced(following: Following, log: Path) -> None:
    files = following()
    append(log, b"caf\xe9 \xed\xa0\x80 \x00 \xf0\x9f\x98\x80 \xed\x95\x9c\xea\xb8\x80\n")
    (text,) = texts(files)
    assert text.startswith("caf\ufffd ")
    assert text.endswith("\x00 \U0001f600 한글")


def test_a_line_that_is_too_long_is_cut_and_says_so(agent: ModuleType, following: Following, log: Path) -> None:
    files = following()
    append(log, "x" * 1_000_000 + "\nshort\n")
    found = [entry for _ in range(40) for entry in files.poll(MAX)]
    assert [len(entry.text) for entry in found] == [MAX, 5]
    assert found[0].facts["cut_bytes"] == str(1_000_000 - MAX)
    assert "cut_bytes" not in found[1].facts


JAVA = "java.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\nCaused by: java.io.IOException\n\t... 5 more"
PYTHON = (
    "ERROR it broke\nTraceback (most recent call last):\n  File 'a.py', line 1\n    f()\nKeyError: 'x'\n"
    "During handling of the above exception, another exception occurred:\n"
    "Traceback (most recent call last):\n  File 'b.py', line 2\nValueError: y"
)


@pytest.mark.parametrize("trace", [JAVA, PYTHON])
def test_a_stack_trace_is_one_line(following: Following, log: Path, trace: str) -> None:
    files = following()
    append(log, f"before\n{trace}\nafter\n")
    assert texts(files) == ["before", trace, "after"]


def test_lines_are_left_apart_when_that_is_wanted(following: Following, log: Path) -> None:
    files = following(joins=False)
    append(log, JAVA + "\n")
    assert texts(files) == JAVA.split("\n")


def test_lines_that_look_the_same_are_told_apart(following: Following, log: Path) -> None:
    files = following()
    append(log, "2026-11-21T10:00:00Z tick\n" * 3 + "no time\n" * 3)
    instants = [entry.at_ns for _ in range(4) for entry in files.poll(MAX)]
    assert len(set(instants)) == 6


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-11-21T10:20:30Z INFO x", "2026-11-21T10:20:30.000000000"),
        ("[2026-11-21 19:20:30,123 +0900] x", "2026-11-21T10:20:30.123000000"),
        ("2026-11-21 10:20:30.5 UTC [7] LOG: x", "2026-11-21T10:20:30.500000000"),
        ('{"level":"info","time":"2026-11-21T10:20:30.123456789Z"}', "2026-11-21T10:20:30.123456789"),
        ('::1 - - [21/Nov/2026:12:20:30 +0200] "GET / HTTP/1.1" 200 5', "2026-11-21T10:20:30.000000000"),
        ("2026-11-21 10:20:30 of which zone?", ""),
        ("1970-01-01T00:00:00Z long ago", ""),
        ("2100-01-01T00:00:00Z in the future", ""),
        ("2026-13-41T99:99:99Z never", ""),
        ("Nov 21 10:20:30 host x", ""),
    ],
)
def test_when_a_line_says_that_it_was_written_is_believed_when_it_can_be(
    agent: ModuleType, line: str, said: str
) -> None:
    now_ns = 1_795_256_430 * 10**9 + 60 * 10**9  # a minute after 2026-11-21T10:20:30Z
    at_ns = agent.instant_in(line, now_ns)
    shown = "" if at_ns is None else time.strftime("%FT%T", time.gmtime(at_ns // 10**9)) + f".{at_ns % 10**9:09d}"
    assert shown == said


def test_a_file_that_may_not_be_read_is_told_once(agent: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "closed.log").write_text("x\n")
    told: list[str] = []
    files = agent.Files([("", str(tmp_path / "*.log"))], {}, tell=lambda _, text: told.append(text))
    monkeypatch.setattr(files, "_follow", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    files.poll(MAX)
    assert "closed.log: Permission denied" in told[0]
    assert "adm" in told[0]


# --- The journal ------------------------------------------------------------------------------------------------------

JOURNALCTL = """#!{python} -S
# A journal of numbered entries in a file, told as journalctl does.
import json, os, sys, time
path, arguments, parent = os.environ["JOURNAL"], sys.argv[1:], os.getppid()
if not os.access(path, os.R_OK) or open(path).read(6) == "closed":
    sys.exit("No journal files were opened due to insufficient permissions.")
after = int(arguments[arguments.index("--after-cursor") + 1]) if "--after-cursor" in arguments else 0
told = after
while True:
    lines = open(path).read().splitlines()
    if "--lines=1" in arguments:
        told = max(0, len(lines) - 1)
    for number, line in enumerate(lines, 1):
        if number > told:
            entry = json.loads(line)
            entry.update({{"__CURSOR": str(number), "__REALTIME_TIMESTAMP": str({base} + number)}})
            print(json.dumps(entry), flush=True)
    told = len(lines)
    if "--follow" not in arguments or os.getppid() != parent:
        break
    time.sleep(0.02)
"""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a journalctl on the PATH reads; entries are lines of JSON."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "journalctl"
    program.write_text(JOURNALCTL.format(python=sys.executable, base=time.time_ns() // 1000))
    program.chmod(0o755)
    path = tmp_path / "journal"
    path.write_text('{"MESSAGE": "of long ago", "SYSLOG_IDENTIFIER": "x"}\n')
    monkeypatch.setenv("JOURNAL", str(path))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return path


def entry(message: object, **more: str) -> str:
    return json.dumps({"MESSAGE": message, "SYSLOG_IDENTIFIER": "sshd", **more}) + "\n"


def polled(journal: Any, least: int) -> list[Any]:
    found: list[Any] = []
    wait_until(lambda: found.extend(journal.poll(MAX)) or len(found) >= least, f"{least} entries")
    return found


def test_the_journal_is_followed_from_its_end_and_on_from_a_cursor(agent: ModuleType, journal: Path) -> None:
    first = agent.Journal("")
    first.poll(MAX)
    append(journal, entry("one", PRIORITY="3", _SYSTEMD_UNIT="ssh.service", _PID="12"))
    (one,) = polled(first, 1)
    first.close()
    assert (one.source, one.text) == ("sshd", "one")
    assert one.facts == {"unit": "ssh.service", "pid": "12", "level": "err"}
    append(journal, entry("two") + entry("three"))
    second = agent.Journal(first.cursor)
    assert [each.text for each in polled(second, 2)] == ["two", "three"]
    second.close()


def test_entries_of_every_shape_are_understood(agent: ModuleType, journal: Path) -> None:
    journal.write_text(
        entry([*"한글 ".encode(), 255])
        + entry(None)
        + entry(["said", "twice"])
        + entry("x" * (MAX + 5), SYSLOG_IDENTIFIER="")
    )
    reader = agent.Journal("", from_start=True)
    found = polled(reader, 3)
    reader.close()
    assert [each.text[:6] for each in found] == ["한글 \ufffd", "said", "xxxxxx"]
    assert (found[2].source, found[2].facts) == ("journal", {"cut_bytes": "5"})


def test_a_journal_that_may_not_be_read_is_told(agent: ModuleType, journal: Path) -> None:
    journal.write_text("closed")
    told: list[str] = []
    reader = agent.Journal("", tell=lambda _, text: told.append(text))
    wait_until(lambda: reader.poll(MAX) or told, "a word about it")
    assert "insufficient permissions. May" in told[0]


# --- From there to the portal -----------------------------------------------------------------------------------------


@pytest.fixture
def started(machine: Machine, catcher: Catcher, log: Path) -> Callable[..., Any]:
    """Starts the agent, and waits until it follows."""

    def start(*options: str) -> Any:
        running = machine.start("--file", f"shop={log.parent}/*.log", "--interval", "3600", *options)
        wait_until(lambda: (machine.spool / "read-to.json").exists(), "what is remembered")
        return running

    return start


def test_lines_are_sent_with_where_they_are_from(started: Any, machine: Machine, catcher: Catcher, log: Path) -> None:
    before_ns = time.time_ns()
    started()
    append(log, "one\ntwo\n")
    lines = wait_until(lambda: len(lines := catcher.lines()) == 2 and lines, "two lines")
    assert [line.text for line in lines] == ["one", "two"]
    assert dict(lines[0].stream) == {"host": "web-1", "source": "shop", "filename": str(log)}
    assert before_ns < lines[0].at_ns < lines[1].at_ns < time.time_ns()


def test_entries_of_the_journal_are_sent_with_their_level(
    machine: Machine, catcher: Catcher, journal: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        machine, "environment", lambda: {**os.environ, "HOME": str(machine.home), "JOURNAL": str(journal)}
    )
    machine.start("--journal", "--from-start")
    (line,) = wait_until(catcher.lines, "a line")
    assert dict(line.stream) == {"host": "web-1", "source": "x"}
    append(journal, entry("late", PRIORITY="4"))
    wait_until(lambda: catcher.texts() == ["of long ago", "late"], "the next one")
    assert catcher.lines()[1].facts == {"level": "warning"}


def test_no_line_is_lost_or_changed_by_outages_kills_and_rotation(
    started: Any, machine: Machine, catcher: Catcher, log: Path
) -> None:
    running = started()
    append(log, "one\n")
    wait_until(lambda: catcher.texts() == ["one"], "the first line")
    catcher.close()
    append(log, "two\n")
    waiting = wait_until(lambda: list(machine.spool.glob("lines-*")), "a line that waits")
    wait_until(lambda: "two" in waiting[0].read_text(), "the line that waits")
    running.kill()
    log.rename(log.with_suffix(".log.1"))
    log.write_text("three\n")
    running = started()
    append(log, "four\n")
    wait_until(lambda: "four" in "".join(path.read_text() for path in machine.spool.glob("lines-*")), "all that wait")
    running.kill()
    catcher.open()
    started()
    wait_until(lambda: len(catcher.texts()) >= 4, "all lines")
    assert sorted(catcher.texts()) == ["four", "one", "three", "two"]


def test_what_is_sent_again_is_the_same_body(started: Any, machine: Machine, catcher: Catcher, log: Path) -> None:
    catcher.answer_pushes = lambda body: (503, {"error": "away"}, {"Retry-After": "0"})
    running = started()
    append(log, "one\n")
    wait_until(lambda: len(catcher.pushes) >= 2, "a second try")
    running.kill()
    catcher.answer_pushes = no_content
    started()
    wait_until(lambda: catcher.taken_pushes, "an answer that is good")
    assert len(set(catcher.pushes)) == 1


def test_it_ends_at_once_when_it_is_told_to_and_has_lost_nothing(
    started: Any, machine: Machine, catcher: Catcher, log: Path
) -> None:
    catcher.close()
    running = started()
    append(log, "one\n")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0
    catcher.open()
    started()
    wait_until(lambda: catcher.texts() == ["one"], "the line")


# --- The shelf --------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_shelf(agent: ModuleType, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    made = []

    def make(most_bytes: int = 1 << 20) -> Any:
        folder = tmp_path / "spool"
        made.append(agent.Shelf(agent.Spool(str(folder), 16 << 20, "lines"), str(folder / "read-to.json"), most_bytes))
        return made[-1]

    yield make
    for shelf in made:
        shelf.close()


def put(agent: ModuleType, shelf: Any, *said: str, cursor: str = "c") -> None:
    shelf.put([agent.Entry("shop", number, text, {}) for number, text in enumerate(said)], {"cursor": cursor})


def test_a_kill_between_the_batch_and_the_place_repeats_nothing(
    agent: ModuleType, make_shelf: Any, tmp_path: Path
) -> None:
    shelf = make_shelf()
    put(agent, shelf, "one", cursor="1")
    earlier = (tmp_path / "spool" / "read-to.json").read_bytes()
    put(agent, shelf, "two", cursor="2")
    (tmp_path / "spool" / "read-to.json").write_bytes(earlier)
    assert make_shelf().remembered() == {"cursor": "2"}


def test_a_full_shelf_leaves_lines_where_they_are(
    agent: ModuleType, make_shelf: Any, following: Following, log: Path, capsys: Any
) -> None:
    shelf = make_shelf(10)
    reader = agent.LogReader(shelf, following(), None, {})
    append(log, "one\n")
    wait_until(reader.step, "the first")
    append(log, "two\n")
    assert not reader.step()
    assert shelf.is_full()
    assert "wait where they were written" in capsys.readouterr().err
    shelf.done(shelf.batch(10))
    wait_until(reader.step, "the second")


def test_without_a_disk_one_batch_waits_in_memory(agent: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "spool")
    shelf = agent.Shelf(agent.Spool(nowhere, 1 << 20, "lines"), nowhere + "/read-to.json", 1 << 20)
    put(agent, shelf, "one", "two")
    assert shelf.is_full()
    shelf.done(shelf.batch(1))
    shelf.done(shelf.batch(1))
    assert not shelf.is_full()


def test_lines_that_are_refused_are_told_and_the_others_kept(
    agent: ModuleType, make_shelf: Any, catcher: Catcher, capsys: Any
) -> None:
    def answer(body: bytes) -> Reply:
        if any("poison" in line.text for line in lines_of(body)):
            return 400, {"error": "bad_body", "message": "poison", "kept": 0, "refused": [], "refused_count": 0}, {}
        return no_content(body)

    catcher.answer_pushes = answer
    shelf = make_shelf()
    put(agent, shelf, *(["fine"] * 20), "poison", *(["well"] * 20))
    sender = agent.LineSender(shelf, agent.Portal(catcher.url, lambda: "omp_x"), "web-1")
    while sender.step() is not None:
        pass
    assert len(catcher.lines()) == 40
    assert "refused 1 for good: poison" in capsys.readouterr().err


# --- How it is told ---------------------------------------------------------------------------------------------------


def test_check_says_what_would_be_followed(machine: Machine, log: Path) -> None:
    result = machine.ask("--check", "--file", f"{log.parent}/*.log", PATH=os.environ["PATH"])
    assert f"{log.parent}/*.log: 1 files." in result.stdout


def test_help_names_the_options(machine: Machine) -> None:
    said = machine.ask("--help").stdout
    assert all(option in said for option in ("--file", "--journal", "--from-start", "--separate-lines"))


def test_an_installed_agent_follows_the_same(machine: Machine) -> None:
    image = machine.home / "image"
    options = ("--journal", "--file", "shop=/srv/shop/*.log", "--file", "/var/log/a b/*")
    result = machine.ask("--install", "--destination", str(image), *options)
    assert result.returncode == 0, result.stderr
    unit = next(image.rglob("*.service")).read_text()
    assert '--file "shop=/srv/shop/*.log" --file "/var/log/a b/*" --journal' in unit
    is_root = subprocess.run(["id", "-u"], capture_output=True, check=True).stdout.strip() == b"0"
    assert ("SupplementaryGroups=" in unit) == is_root


def test_lines_go_to_the_door_of_loki() -> None:
    assert LINES_PATH == "/loki/api/v1/push"
