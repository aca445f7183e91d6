"""Exports: written in portions, fetched by who asked, forgotten after a day."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.http import Http404
from django.test import Client
from django.utils import timezone

from monitoring.exports import asking, history, rows, writing
from monitoring.exports.asking import ExportError, export_for, share_done
from monitoring.exports.file import file_name
from monitoring.exports.history import ask
from monitoring.exports.portion import Portion
from monitoring.exports.rows import WRITERS, column_name
from monitoring.history import horizon
from monitoring.history.frame import Frame, SeriesName, canonical_labels
from monitoring.history.read import names_of, read
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Membership, Server
from monitoring.models.export import Export, ExportPart, ExportState
from portal.accounts import tokens
from portal.toolkit.instants import at_ms, from_ms
from portal.toolkit.sentence import say
from tests.cast import Cast, make_cast, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

HOUR_MS = 3_600_000
MOUNT = SeriesName("disk_used_share", canonical_labels({"mount": "/data"}))


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def start() -> datetime:
    now = int(timezone.now().timestamp() * 1000)
    return from_ms(now // HOUR_MS * HOUR_MS - 5 * HOUR_MS)


def recorded(server: Server, start: datetime, hours: int = 4, every_s: int = 30) -> None:
    """Numbers that only the shortest exact text gives back, and a second series with gaps."""
    first, frames = at_ms(start), []
    for number, at in enumerate(range(first, first + hours * HOUR_MS, every_s * 1000)):
        values: dict[str | SeriesName, float] = {"cpu": math.sin(number) * 50 + 50}
        if number % 7 == 0:
            values[MOUNT] = 0.1 + 0.2
        frames.append(Frame.of(server.pk, at + number % 3, values))
    record(frames, origin="test")
    Batch.objects.update(evaluated_at=timezone.now())


def asked(cast: Cast, start: datetime, *metrics: str, format: str = "csv", hours: int = 4) -> Export:
    return ask(cast.reader, cast.server, metrics, start, start + timedelta(hours=hours), format, timezone.now())


def text_of(export: Export) -> str:
    parts = ExportPart.objects.filter(export=export).order_by("number")
    return gzip.decompress(b"".join(bytes(part.body) for part in parts)).decode()


def exact(server: Server, start: datetime, end: datetime) -> list[list[str]]:
    """What `history.read` has, as the lines of a CSV."""
    tracks = read(server.pk, names_of(server.pk), at_ms(start), at_ms(end))
    lines = []
    for place, at in enumerate(tracks.at_ms.tolist()):
        values = tracks.values[:, place]
        if not np.isnan(values).all():
            stamp = from_ms(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            lines.append([stamp, *("" if np.isnan(one) else repr(float(one)) for one in values)])
    return lines


class Killed(BaseException):
    """Nothing of the writer runs after it, as after kill -9."""


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PORTION_VALUES", 100)


def test_the_file_has_exactly_what_is_read(cast: Cast, start: datetime, small_portions: None) -> None:
    recorded(cast.server, start)
    export = asked(cast, start)
    assert writing.write_due(timezone.now()) == 1
    export.refresh_from_db()
    head, *lines = csv.reader(io.StringIO(text_of(export)))
    assert head == ["timestamp", "cpu", 'disk_used_share{mount="/data"}']
    assert lines == exact(cast.server, export.starts_at, export.ends_at)
    assert (export.state, export.rows, share_done(export)) == (ExportState.DONE, 480, 1.0)
    assert export.bytes == sum(len(part.body) for part in export.parts.all())
    assert export.parts.count() > 5


def test_json_is_one_document_whatever_the_portions(cast: Cast, start: datetime, small_portions: None) -> None:
    recorded(cast.server, start)
    export = asked(cast, start, format="json")
    writing.write_due(timezone.now())
    document = json.loads(text_of(export))
    assert document["series"] == [
        {"metric": "cpu", "labels": {}},
        {"metric": "disk_used_share", "labels": {"mount": "/data"}},
    ]
    lines = [
        [row["timestamp"], *("" if one is None else repr(one) for one in row["values"])] for row in document["rows"]
    ]
    assert lines == exact(cast.server, export.starts_at, export.ends_at)


@pytest.mark.parametrize("kept_before", [0, 1, 4])
def test_a_killed_writer_is_followed_by_one_that_doubles_and_misses_nothing(
    cast: Cast, start: datetime, small_portions: None, monkeypatch: pytest.MonkeyPatch, kept_before: int
) -> None:
    recorded(cast.server, start)
    export = asked(cast, start)
    monkeypatch.setattr(history, "_samples", dies_after(kept_before, history._samples))
    with pytest.raises(Killed):
        writing.write_due(timezone.now())
    monkeypatch.undo()
    seal_due(from_ms(at_ms(start) + 2 * HOUR_MS + horizon.GRACE_MS))
    assert writing.write_due(timezone.now()) == 0, "the dead writer's lease has not ended"
    assert writing.write_due(timezone.now() + writing.LEASE + timedelta(seconds=1)) == 1
    assert list(csv.reader(io.StringIO(text_of(export))))[1:] == exact(cast.server, export.starts_at, export.ends_at)


def dies_after(portions: int, samples: Any) -> Any:
    left = iter(range(portions))

    def dying(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise Killed
        return samples(*arguments)

    return dying


def test_a_writer_that_lost_its_lease_adds_nothing(cast: Cast, start: datetime, small_portions: None) -> None:
    recorded(cast.server, start)
    export = asked(cast, start)
    slow = writing._claim(timezone.now())
    assert slow is not None
    writing.write_due(timezone.now() + writing.LEASE + timedelta(seconds=1))
    assert writing._write(slow, 1e12) is False
    assert list(csv.reader(io.StringIO(text_of(export))))[1:] == exact(cast.server, export.starts_at, export.ends_at)


def test_a_file_that_grows_too_large_fails_in_words_and_leaves_nothing(
    cast: Cast, start: datetime, small_portions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_BYTES", 3000)
    recorded(cast.server, start)
    export = asked(cast, start)
    writing.write_due(timezone.now())
    export.refresh_from_db()
    assert export.state == ExportState.FAILED
    assert say(export.error).startswith("The file would be larger than")
    assert export.parts.count() == 0


def test_what_cannot_be_written_fails_and_the_next_is_written(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    bad, good = asked(cast, start), asked(cast, start, format="json")
    Export.objects.filter(pk=bad.pk).update(asked=[["cpu", "", "of another version"]])
    assert writing.write_due(timezone.now()) == 1
    states = dict(Export.objects.values_list("pk", "state"))
    assert (states[bad.pk], states[good.pk]) == (ExportState.FAILED, ExportState.DONE)


def test_months_without_samples_are_passed_quickly(cast: Cast, start: datetime, settings: Any) -> None:
    settings.RETENTION_DAYS = 400
    record([Frame.of(cast.server.pk, at_ms(start - timedelta(days=380)), {"cpu": 1.0})], origin="test")
    recorded(cast.server, start, hours=1)
    export = asked(cast, start - timedelta(days=399), "cpu", hours=400 * 24)
    assert export.starts_at == start - timedelta(days=380)
    writing.write_due(timezone.now())
    export.refresh_from_db()
    assert (export.state, export.rows) == (ExportState.DONE, 121)
    assert export.parts.count() < 30


def test_after_months_of_nothing_the_first_full_weeks_come_in_portions(
    cast: Cast, start: datetime, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was empty for long may be dense at once: weeks of it do not fit into memory."""
    settings.RETENTION_DAYS = 400
    record([Frame.of(cast.server.pk, at_ms(start - timedelta(days=380)), {"cpu": 1.0})], origin="test")
    recorded(cast.server, start)
    asked(cast, start - timedelta(days=399), "cpu", hours=400 * 24)
    sizes, keep = [], writing._keep

    def counted(export: Export, portion: Portion) -> bool:
        sizes.append(portion.rows)
        return keep(export, portion)

    monkeypatch.setattr(history, "MOST_VALUES", 1800)
    monkeypatch.setattr(writing, "_keep", counted)
    writing.write_due(timezone.now())
    assert sum(sizes) == 481
    assert max(sizes) <= 60, "half an hour, of one sample each 30 s"
    assert len(sizes) < 15


def test_only_the_asked_metrics_are_columns(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    export = asked(cast, start, "disk_used_share")
    writing.write_due(timezone.now())
    head, *lines = csv.reader(io.StringIO(text_of(export)))
    assert (head, len(lines)) == (["timestamp", 'disk_used_share{mount="/data"}'], 18)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\n", "＝"])
def test_no_name_becomes_a_formula(sign: str) -> None:
    name = SeriesName(f'{sign}HYPERLINK("http://evil.example","x")')
    [[_, cell]] = csv.reader(io.StringIO(WRITERS["csv"].head({}, [name])))
    assert cell == f"'{column_name(name)}"


def test_a_negative_number_stays_a_number() -> None:
    [[_, cell]] = csv.reader(io.StringIO(rows.Csv().rows(np.array([0]), np.array([[-1.5]]), is_first=True)))
    assert float(cell) == -1.5


def test_at_most_three_wait_for_one_person(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    for _ in range(asking.MOST_WAITING):
        asked(cast, start)
    with pytest.raises(ExportError, match="Wait until one is done"):
        asked(cast, start)
    ask(cast.owner, cast.server, [], start, None, "csv", timezone.now())


def test_of_those_that_are_over_the_newest_stay(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    first = asked(cast, start)
    for _ in range(asking.MOST_KEPT):
        writing.write_due(timezone.now())
        asked(cast, start)
    assert not Export.objects.filter(pk=first.pk).exists()
    assert Export.objects.count() == asking.MOST_KEPT


@pytest.mark.parametrize(
    ("metrics", "hours", "format", "words"),
    [
        (["nothing"], 1, "csv", "has no metric “nothing”"),
        ([], -1, "csv", "ends before it begins"),
        ([], 1, "xlsx", "csv or json"),
    ],
)
def test_what_cannot_be_exported_is_said_in_words(
    cast: Cast, start: datetime, metrics: list[str], hours: int, format: str, words: str
) -> None:
    recorded(cast.server, start, hours=1)
    with pytest.raises(ExportError, match=words):
        ask(cast.reader, cast.server, metrics, start, start + timedelta(hours=hours), format, timezone.now())


def test_an_export_is_its_owners_and_only_while_they_may_see_the_server(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    export = asked(cast, start)
    assert export_for(cast.reader, export.pk) == export
    for other in (cast.owner, cast.superuser, cast.stranger):
        with pytest.raises(Http404):
            export_for(other, export.pk)
    Membership.objects.filter(user=cast.reader).delete()
    with pytest.raises(Http404):
        export_for(cast.reader, export.pk)


def test_exports_are_forgotten_after_a_day(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    old, new = asked(cast, start), asked(cast, start)
    writing.write_due(timezone.now())
    Export.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=1, minutes=1))
    assert writing.forget(timezone.now()) == 1
    assert list(Export.objects.all()) == [new]


def test_a_file_name_has_nothing_of_a_path_or_header(cast: Cast, start: datetime) -> None:
    cast.server.name = '../evil"\r\nSet-Cookie: x.csv'
    export = Export(server=cast.server, starts_at=start, ends_at=start, format="csv")
    assert file_name(export).startswith("evil-Set-Cookie-x-csv_")


# --- The API ----------------------------------------------------------------------------------------------------------


def posted(browser: Client, cast: Cast, **wanted: Any) -> Any:
    body = {"serverId": cast.server.pk, **wanted}
    return browser.post("/api/monitoring/exports", body, content_type="application/json")


def test_a_program_asks_waits_and_fetches(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    reader = sign_in(cast.reader)
    answer = posted(reader, cast, metrics=["cpu"], format="csv")
    assert answer.status_code == 202
    where = answer.headers["Location"]
    waiting = reader.get(where).json()
    assert (waiting["state"], waiting["share"], waiting["file"]) == ("waiting", 0, None)
    assert reader.get(f"{where}/file").status_code == 409
    writing.write_due(timezone.now())
    done = reader.get(where).json()
    assert (done["state"], done["share"], done["rows"]) == ("done", 1, 120)
    file = reader.get(done["file"])
    lines = b"".join(file).decode().splitlines()
    assert (lines[0], len(lines)) == ("timestamp,cpu", 121)
    assert file.headers["Content-Disposition"].startswith('attachment; filename="shop-web-1_')
    packed = reader.get(done["file"], {"packed": "true"}, headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(b"".join(packed)).decode().splitlines() == lines
    assert "Content-Encoding" not in packed.headers


def test_a_browser_needs_its_csrf_token_and_a_program_its_read_token(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(cast.reader)
    assert posted(browser, cast).status_code == 403
    token, text = tokens.make(cast.reader, "exporter")
    token.save()
    program = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {text}"})
    assert posted(program, cast).status_code == 202


def test_nobody_else_reaches_a_file(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    where = posted(sign_in(cast.reader), cast).headers["Location"]
    writing.write_due(timezone.now())
    for other in (cast.stranger, cast.owner, cast.superuser):
        for path in (where, f"{where}/file"):
            assert sign_in(other).get(path).status_code == 404
    assert posted(sign_in(cast.stranger), cast).status_code == 404
    Membership.objects.filter(user=cast.reader).delete()
    assert sign_in(cast.reader).get(f"{where}/file").status_code == 404


@pytest.mark.parametrize("first", ["0001-01-01T00:00:00+14:00", "1950-01-01T00:00:00Z"])
def test_what_begins_before_all_time_begins_with_the_first_sample(cast: Cast, start: datetime, first: str) -> None:
    recorded(cast.server, start, hours=1)
    answer = posted(sign_in(cast.reader), cast, **{"from": first})
    assert answer.status_code == 202
    assert Export.objects.get(pk=answer.json()["id"]).starts_at == start


def test_too_many_at_once_and_mistakes_are_told_apart(cast: Cast, start: datetime) -> None:
    recorded(cast.server, start, hours=1)
    reader = sign_in(cast.reader)
    assert posted(reader, cast, metrics=["nothing"]).status_code == 400
    assert [posted(reader, cast).status_code for _ in range(4)] == [202, 202, 202, 429]
