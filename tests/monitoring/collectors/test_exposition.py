"""Exposition text as it is, as it should be, and as it comes from broken programs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from monitoring.collectors.exposition import Exposition, Sample, TooManySamplesError, parse
from portal.toolkit.sentence import say

DUMP = Path(__file__).resolve().parents[4] / "shared/data/node_exporter/e2e-output.txt"


def read(text: str, **options: object) -> Exposition:
    return parse(text, **{"limit": 10_000, **options})


def only(text: str) -> Sample:
    [sample] = read(text).samples
    return sample


@pytest.mark.parametrize(
    ("line", "name", "labels", "value"),
    [
        ("up 1", "up", {}, 1.0),
        ("up\t1", "up", {}, 1.0),
        ("  up   1  ", "up", {}, 1.0),
        ("up 1 1395066363000", "up", {}, 1.0),
        ("up 1\r", "up", {}, 1.0),
        ("up{} 1", "up", {}, 1.0),
        ('a:b_c{d="e"} -3.14e-2', "a:b_c", {"d": "e"}, -0.0314),
        ('a {d = "e" , f="g",} 1', "a", {"d": "e", "f": "g"}, 1.0),
        ('a{d="e"}1', "a", {"d": "e"}, 1.0),
        ('a{d="x}y,z=\\"q\\" \\\\n\\n#"} 1', "a", {"d": 'x}y,z="q" \\n\n#'}, 1.0),
        ('a{d="서버 \u202e",e=""} 1', "a", {"d": "서버 \u202e"}, 1.0),
        ('a_bucket{le="0.5"} 8 # {trace_id="KOO5"} 0.67', "a_bucket", {"le": "0.5"}, 8.0),
        ("a_total 17.0 1520879607.789 # {} 3.0", "a_total", {}, 17.0),
        ('{"my.metric","my.label"="x"} 5', "my.metric", {"my.label": "x"}, 5.0),
        ("a +Inf", "a", {}, math.inf),
        ("a -Inf", "a", {}, -math.inf),
        ("a 1e309", "a", {}, math.inf),
    ],
)
def test_a_good_line_is_a_sample(line: str, name: str, labels: dict[str, str], value: float) -> None:
    assert only(line + "\n")[:3] == (name, labels, value)


def test_nan_is_a_sample_without_a_number() -> None:
    assert math.isnan(only("a NaN\n").value)


def test_minus_zero_is_harmless() -> None:
    assert only("a -0\n").value == 0


@pytest.mark.parametrize(
    "line",
    [
        "up", "up one", "up 1_000", "up 1 2 3", "1up 1", "up{ 1", 'up{a="b} 1', 'up{a=b} 1', 'up{a="b"c="d"} 1',
        'up{a="b",a="c"} 1', 'up{a="b"}', "up{,} 1", "<p>up 1", "x" * 201 + " 1", '{"a\0b"} 1', '{"up} 1',
        '{"' + "a" * 20_000 + '"} 1', '{"q":[1,2]}',
    ],
)  # fmt: skip
def test_a_bad_line_is_named_and_the_others_are_kept(line: str) -> None:
    result = read(f"# HELP up Whether it is.\nfirst 1\n{line}\nlast 2\n")
    assert [sample.name for sample in result.samples] == ["first", "last"]
    assert (result.seen, result.bad, result.first_bad[0]) == (3, 1, 3)
    assert "Line 3 could not be used" in say(result.complaint)


def test_several_bad_lines_are_counted_and_the_first_is_named() -> None:
    assert say(read("a\nb 1\nc\n").complaint) == "2 lines could not be used; the first is line 1: “a”."


def test_the_complaint_is_printable_whatever_the_line_holds() -> None:
    said = say(read("a 1\n\x1b[31mred\x00 \u202e\n").complaint)
    assert said == "Line 2 could not be used: “\ufffd[31mred\ufffd \ufffd”."


def test_a_last_line_without_an_end_is_kept_when_the_text_is_whole() -> None:
    assert [sample.value for sample in read("a 1\nb 12").samples] == [1.0, 12.0]


def test_a_last_line_without_an_end_may_be_half_a_number() -> None:
    result = read("a 1\nb 12", whole=False)
    assert [sample.name for sample in result.samples] == ["a"]
    assert say(result.complaint) == "The answer was cut off. Line 2 could not be used: “b 12”."


def test_more_samples_than_the_limit_are_refused_whole() -> None:
    assert read("a 1\n" * 10, limit=10).seen == 10
    with pytest.raises(TooManySamplesError):
        read("a 1\n" * 11, limit=10)


def test_bad_lines_count_against_the_limit_too() -> None:
    with pytest.raises(TooManySamplesError):
        read("?\n" * 11, limit=10)


def test_names_that_nobody_wants_are_counted_only() -> None:
    result = read("a 1\nb 2\n", wanted={"b"})
    assert (result.seen, [sample.name for sample in result.samples]) == (2, ["b"])


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("jobs", "Done", ["queue"], registry=registry).labels("a").inc(3)
    Gauge("depth", "Waiting", registry=registry).set(4)
    Histogram("wait_seconds", "Wait", buckets=(0.1, 1), registry=registry).observe(0.5)
    Summary("size_bytes", "Size", registry=registry).observe(7)
    return registry


@pytest.mark.parametrize("generate", [generate_latest, generate_openmetrics])
def test_both_formats_tell_counters_from_gauges(generate: object, registry: CollectorRegistry) -> None:
    result = read(generate(registry).decode())  # type: ignore[operator]
    kinds = {sample.name: result.kind(sample.name) for sample in result.samples if not sample.name.endswith("created")}
    assert kinds == {
        "jobs_total": "counter",
        "depth": "gauge",
        "wait_seconds_bucket": "counter",
        "wait_seconds_count": "counter",
        "wait_seconds_sum": "counter",
        "size_bytes_count": "counter",
        "size_bytes_sum": "counter",
    }
    assert result.has_eof == (generate is generate_openmetrics)


def test_the_time_of_creation_is_no_measurement(registry: CollectorRegistry) -> None:
    assert read(generate_openmetrics(registry).decode()).kind("jobs_created") == "made"


def test_an_untyped_name_is_a_gauge_unless_it_ends_in_total() -> None:
    result = read("a 1\nb_total 2\nc_count 3\n")
    assert [result.kind(name) for name in ("a", "b_total", "c_count")] == ["gauge", "counter", "gauge"]


def as_the_library_reads(text: str) -> list[tuple[str, dict[str, str], float]]:
    families = text_string_to_metric_families(text)
    return [
        (sample.name, {key: value for key, value in sample.labels.items() if value}, sample.value)
        for family in families
        for sample in family.samples
    ]


def test_it_reads_node_exporters_dump_as_prometheus_client_does() -> None:
    if not DUMP.exists():
        pytest.skip(f"{DUMP} is not here")
    text = DUMP.read_text()
    ours, theirs = read(text), as_the_library_reads(text)
    assert (ours.seen, ours.bad) == (3027, 0)
    # The library gives an old-style counter its suffix; we keep the name as it is.
    assert [tuple(sample[1:3]) for sample in ours.samples] == [sample[1:] for sample in theirs]
    assert all(
        name.removesuffix("_total") == mine.name.removesuffix("_total")
        for mine, (name, *_) in zip(ours.samples, theirs, strict=True)
    )


@given(
    labels=st.dictionaries(
        st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(lambda n: n[:2] != "__"),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    value=st.floats(allow_nan=False),
)
def test_every_label_comes_back_as_it_was_written(labels: dict[str, str], value: float) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    inner = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    sample = only(f"metric{{{inner}}} {value!r}\n")
    assert sample[:3] == ("metric", {key: text for key, text in labels.items() if text}, value)


@given(st.text(alphabet=st.sampled_from('ab_{}="\\,# \t\n1.eN<'), max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    result = read(text)
    assert len(result.samples) + result.bad == result.seen
