"""Exports of logs: what fits an Ask as a file, by portions, whatever happens to the worker."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from monitoring.exports import cells, logs, writing
from monitoring.exports.asking import ExportError, exports_of, share_done
from monitoring.exports.file import file_name
from monitoring.logs.ask import Ask
from monitoring.logs.line import KeptLine, Level, Line, Position
from monitoring.logs.record import record
from monitoring.models import Membership, Role, Server
from monitoring.models.export import Export, ExportPart, ExportState
from tests.cast import Cast, make_cast, sign_in
from tests.monitoring.logs.conftest import SECOND_NS

database = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]
pytestmark = database

EVERYTHING = Ask()


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def written(cast: Cast, now_ns: int, count: int = 200, **said: Any) -> list[Line]:
    lines = [
        Line(cast.server.pk, now_ns - (9000 - number) * SECOND_NS // 10, Level(number % 4), "app", f"line {number}")
        for number in range(count)
    ]
    lines = [line._replace(**said) for line in lines]
    record(lines, origin="test")
    return lines


def asked(cast: Cast, wanted: Ask = EVERYTHING, format: str = "jsonl") -> Export:
    return logs.ask(cast.reader, wanted, format, timezone.now())


def text_of(export: Export) -> str:
    parts = ExportPart.objects.filter(export=export).order_by("number")
    return gzip.decompress(b"".join(bytes(part.body) for part in parts)).decode()


def lines_of(export: Export) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(export).splitlines()]


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PAGE_LINES", 20)
    monkeypatch.setattr(logs, "PORTION_BYTES", 5000)


def test_the_file_has_every_line_once_the_oldest_first(cast: Cast, now_ns: int, small_portions: None) -> None:
    lines = written(cast, now_ns)
    export = asked(cast)

    assert writing.write_due(timezone.now()) == 1

    export.refresh_from_db()
    assert [line["text"] for line in lines_of(export)] == [line.text for line in lines]
    assert (export.state, export.rows, share_done(export)) == (ExportState.DONE, 200, 1.0)
    assert export.parts.count() == 5
    assert export.servers == [cast.server.pk]


def test_what_is_asked_is_what_is_in_it(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns)
    record([Line(cast.server.pk, now_ns, Level.ERROR, "nginx", "upstream timed out", {"a": "1"})], origin="test")
    export = asked(cast, Ask(levels=frozenset({Level.ERROR}), sources=frozenset({"nginx"}), words='"timed out"'))

    writing.write_due(timezone.now())

    [line] = lines_of(export)
    assert (line["text"], line["fields"], line["server"]["name"]) == ("upstream timed out", {"a": "1"}, "shop-web-1")


def test_what_arrives_after_it_was_asked_for_is_not_in_it(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 5)
    export = asked(cast)
    record([Line(cast.server.pk, now_ns + 60 * SECOND_NS, Level.INFO, "app", "later")], origin="test")

    writing.write_due(timezone.now())

    assert len(lines_of(export)) == 5


@pytest.mark.parametrize("kept_before", [0, 1, 3])
def test_a_killed_writer_is_followed_by_one_that_doubles_and_misses_nothing(
    cast: Cast, now_ns: int, small_portions: None, monkeypatch: pytest.MonkeyPatch, kept_before: int
) -> None:
    lines = written(cast, now_ns)
    export = asked(cast)
    left, keep = iter(range(kept_before)), writing._keep

    def dying(*arguments: Any) -> bool:
        if next(left, None) is None:
            raise Killed
        return keep(*arguments)

    monkeypatch.setattr(writing, "_keep", dying)
    with pytest.raises(Killed):
        writing.write_due(timezone.now())
    monkeypatch.setattr(writing, "_keep", keep)
    assert writing.write_due(timezone.now()) == 0, "the dead writer's lease has not ended"

    assert writing.write_due(timezone.now() + writing.LEASE + timedelta(seconds=1)) == 1

    assert [line["text"] for line in lines_of(export)] == [line.text for line in lines]


class Killed(BaseException):
    """Nothing of the writer runs after it, as after kill -9."""


def test_lines_of_one_instant_are_not_lost_between_portions(cast: Cast, now_ns: int, small_portions: None) -> None:
    written(cast, now_ns, at_ns=now_ns - SECOND_NS)
    export = asked(cast)

    writing.write_due(timezone.now())

    assert sorted(line["text"] for line in lines_of(export)) == sorted(f"line {number}" for number in range(200))


def test_only_lines_that_the_person_may_see_are_in_it(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 3)
    other = Server.objects.create(name="elsewhere-1", group=cast.elsewhere)
    record([Line(other.pk, now_ns, Level.INFO, "app", "secret")], origin="test")
    own, everything = asked(cast, Ask(servers=frozenset({other.pk, cast.server.pk}))), asked(cast)
    by_superuser = logs.ask(cast.superuser, EVERYTHING, "jsonl", timezone.now())

    writing.write_due(timezone.now())

    assert [len(lines_of(export)) for export in (own, everything, by_superuser)] == [3, 3, 4]


def test_rights_are_looked_at_while_it_is_written(
    cast: Cast, now_ns: int, small_portions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(cast, now_ns)
    export, keep = asked(cast), writing._keep

    def demoting(*arguments: Any) -> bool:
        Membership.objects.filter(user=cast.reader).delete()
        return keep(*arguments)

    monkeypatch.setattr(writing, "_keep", demoting)
    writing.write_due(timezone.now())

    export.refresh_from_db()
    assert export.state == ExportState.DONE
    assert 0 < export.rows < 200
    assert not exports_of(cast.reader).exists()


def test_who_was_demoted_after_it_was_written_does_not_get_it(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 3)
    export = asked(cast)
    writing.write_due(timezone.now())
    reader, where = sign_in(cast.reader), f"/api/monitoring/exports/{export.pk}"
    before = [reader.get(path).status_code for path in (where, f"{where}/file", f"/exports/{export.pk}/")]

    Membership.objects.filter(user=cast.reader).delete()
    Membership.objects.create(user=cast.reader, group=cast.elsewhere, role=Role.ADMIN)

    after = [reader.get(path).status_code for path in (where, f"{where}/file", f"/exports/{export.pk}/")]
    assert (before, after) == ([200, 200, 200], [404, 404, 404])


def test_a_server_that_went_to_another_group_or_is_gone_takes_the_file_with_it(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 3)
    export = asked(cast)
    writing.write_due(timezone.now())
    assert list(exports_of(cast.reader)) == [export]

    Server.objects.filter(pk=cast.server.pk).update(group=cast.elsewhere)
    moved = exports_of(cast.reader).exists()
    Server.objects.all().delete()

    assert not moved
    assert not exports_of(cast.reader).exists()


def test_a_csv_reads_back_to_the_same_texts(cast: Cast, now_ns: int) -> None:
    evil = [
        '=HYPERLINK("http://evil.example")',
        "a,b",
        'say "hi"',
        "two\nlines\r\n",
        "\x1b[31mred",
        "nul \x00",
        "한글",
        "-1",
    ]
    record(
        [
            Line(cast.server.pk, now_ns - 9 * SECOND_NS + place, Level.INFO, "app", text)
            for place, text in enumerate(evil)
        ],
        origin="test",
    )
    export = asked(cast, format="csv")

    writing.write_due(timezone.now())

    head, *rows = csv.reader(io.StringIO(text_of(export), newline=""))
    assert tuple(head) == logs.COLUMNS
    assert [row[4].removeprefix("'") for row in rows] == evil
    assert rows[0][4].startswith("'=")


@given(st.text(max_size=30))
def test_no_cell_is_a_formula_or_ends_another(text: str) -> None:
    line = KeptLine(Position(1, 2), 3, Level.INFO, text, text, {"=x": text}, 0)

    said = logs.WRITERS["csv"].line(line, {3: text}).decode("utf-8", "surrogatepass") if text.isprintable() else ""

    for row in csv.reader(io.StringIO(said, newline="")):
        assert len(row) == len(logs.COLUMNS)
        assert not any(cell.startswith(cells.DANGEROUS) for cell in row)


@pytest.mark.parametrize(
    ("wanted", "format", "words"),
    [
        (Ask(words='"never closed'), "csv", "closed"),
        (Ask(words="nothing"), "csv", "There is no such line"),
        (Ask(start_ns=2**62), "csv", "There is no such line"),
        (EVERYTHING, "xlsx", "csv or jsonl"),
    ],
)
def test_what_cannot_be_exported_is_said_in_words(
    cast: Cast, now_ns: int, wanted: Ask, format: str, words: str
) -> None:
    written(cast, now_ns, 3)
    with pytest.raises(ExportError, match=words):
        asked(cast, wanted, format)


def test_its_name_says_the_time_and_the_format(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 3)
    name = file_name(asked(cast, format="csv"))

    assert name.startswith("logs_2")
    assert name.endswith("Z.csv")


def test_many_lines_do_not_take_much_memory(cast: Cast, now_ns: int) -> None:
    for batch in range(5):
        lines = [
            Line(cast.server.pk, now_ns - (900_000 - number) * 1000, Level.INFO, "app", f"{number} " + "x" * 300)
            for number in range(batch * 2000, batch * 2000 + 2000)
        ]
        record(lines, origin="test")
    export = asked(cast)
    tracemalloc.start()
    try:
        writing.write_due(timezone.now())
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    export.refresh_from_db()
    assert export.rows == 10_000
    assert peak < 40 * 1024 * 1024


# --- The API ----------------------------------------------------------------------------------------------------------


def test_a_program_asks_waits_and_fetches(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 8)
    reader = sign_in(cast.reader)
    answer = reader.post(
        "/api/monitoring/logs/exports", {"level": ["error"], "format": "jsonl"}, content_type="application/json"
    )
    assert answer.status_code == 202
    writing.write_due(timezone.now())

    done = reader.get(answer.headers["Location"]).json()
    file = reader.get(done["file"])

    assert (done["kind"], done["serverId"], done["rows"]) == ("logs", None, 2)
    assert [json.loads(line)["text"] for line in b"".join(file).splitlines()] == ["line 3", "line 7"]
    assert file.headers["Content-Type"] == "application/x-ndjson"
    assert file.headers["Content-Disposition"].startswith('attachment; filename="logs_2')


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"q": '"never closed'}, 400),
        ({"format": "xlsx"}, 400),
        ({"level": ["loud"]}, 400),
        ({"server": ["nobody"]}, 404),
    ],
)
def test_mistakes_are_told_apart(cast: Cast, now_ns: int, body: dict[str, Any], status: int) -> None:
    written(cast, now_ns, 3)
    answer = sign_in(cast.reader).post("/api/monitoring/logs/exports", body, content_type="application/json")
    assert answer.status_code == status


def test_at_most_three_wait_for_one_person_of_whatever_kind(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 3)
    for _ in range(3):
        asked(cast)
    with pytest.raises(ExportError, match="Wait until one is done"):
        asked(cast, replace(EVERYTHING, words="line"))


# --- The page ---------------------------------------------------------------------------------------------------------


def test_asked_for_on_the_page_it_says_how_far_it_is_until_it_is_ready(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 8)
    reader = sign_in(cast.reader)
    fragment = reader.post(
        "/logs/export/", {"level": "error", "format": "csv"}, headers={"HX-Request": "true"}
    ).content.decode()
    export = Export.objects.get()
    assert f'hx-get="/exports/{export.pk}/" hx-trigger="every 1s"' in fragment

    writing.write_due(timezone.now())

    assert "2 rows" in reader.get(f"/exports/{export.pk}/").content.decode()
    assert f'href="/api/monitoring/exports/{export.pk}/file"' in reader.get("/logs/").content.decode()


def test_why_there_is_none_is_said_on_the_page(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 3)
    fragment = sign_in(cast.reader).post("/logs/export/", {"q": '"never'}, headers={"HX-Request": "true"})
    assert 'class="notice is-error"' in fragment.content.decode()


def test_without_scripts_the_page_comes_back_with_its_filter(cast: Cast, now_ns: int) -> None:
    written(cast, now_ns, 3)
    answer = sign_in(cast.reader).post("/logs/export/", {"level": "error", "q": "line"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/logs/?level=error&q=line#exports")
