"""Any endpoint that shows exposition text: node_exporter, windows_exporter, or a program telling about itself."""

from __future__ import annotations

from django.utils.translation import gettext_lazy
from django.utils.translation import gettext_noop as _t

from monitoring.catalogue import BY_NAME
from monitoring.collectors import exposition, mapping
from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.counters import Counters
from monitoring.collectors.credentials import parts_of
from monitoring.collectors.exposition import Exposition
from monitoring.collectors.measures import Values, tidy
from monitoring.collectors.options import Needs, secret_of
from monitoring.collectors.web import authorization, check_url
from monitoring.history.frame import SeriesName, canonical_labels
from monitoring.models import Source
from portal.toolkit.http import Fetched, FetchError, fetch
from portal.toolkit.printable import printable
from portal.toolkit.sentence import Inner

MAX_BYTES = 16_000_000
MAX_LABELS = 2000  # bytes: the labels are part of an index, whose rows have a limit
ACCEPT = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1"

NEEDS = Needs(
    check_url=check_url,
    says=gettext_lazy(
        "An address that shows metrics: http://192.0.2.7:9100/metrics, with a user or a token if it asks."
    ),
    secret=True,
)


def collect(source: Source, now_ms: int) -> Collected:
    parts = parts_of(source.url)
    headers = authorization(parts.user_name, secret_of(source))
    try:
        answer = fetch(parts.bare, timeout_s=source.timeout_s, max_bytes=MAX_BYTES, accept=ACCEPT, headers=headers)
    except FetchError as error:
        raise CollectError.of(error) from error
    shown = read(answer, limit=source.sample_limit, everything=source.keep_everything)
    counters = Counters.recall(source, now_ms)
    values = tidy(mapping.catalogue_values(shown.samples, counters))
    if source.keep_everything:
        values |= _other_values(shown, counters)
    counters.keep()
    if not values:
        raise CollectError(
            _t("none of the %(count)s samples is known to the catalogue; “keep every series” would keep them"),
            count=str(shown.seen),
        )
    return Collected(values, shown.seen, shown.complaint)


def read(answer: Fetched, *, limit: int, everything: bool) -> Exposition:
    """The samples of `answer`: those that feed the catalogue, or all. CollectError when it holds none."""
    if answer.status != 200:
        raise CollectError(_t("the answer has the status %(status)s"), status=str(answer.status))
    text = answer.body.decode("utf-8-sig", errors="replace")
    start = text.lstrip()[:80]
    if start.startswith("<"):
        raise CollectError(
            _t("the answer is a web page (HTML), not metrics: line 1 is “%(line)s”"),
            line=printable(start.split("\n", 1)[0], 60),
        )
    try:
        shown = exposition.parse(
            text, limit=limit, whole=answer.ending == "complete", wanted=None if everything else mapping.NAMES
        )
    except exposition.TooManySamplesError as error:
        raise CollectError(
            _t("the answer has more than %(limit)s samples, the limit of this source"), limit=str(limit)
        ) from error
    is_openmetrics = answer.content_type.startswith("application/openmetrics-text")
    shown.cut |= answer.ending == "cut" or (is_openmetrics and not shown.has_eof)
    if not shown.seen:
        raise CollectError(_t("the answer holds no metrics"))
    if shown.bad == shown.seen:
        raise CollectError(_t("the answer is not metrics. %(complaint)s"), complaint=Inner(shown.complaint))
    return shown


def _other_values(shown: Exposition, counters: Counters) -> Values:
    """What feeds no catalogue metric, under its own name: gauges as they are, counters as rates per second."""
    values: Values = {}
    for sample in shown.samples:
        if sample.name in mapping.NAMES:
            continue
        kind = shown.kind(sample.name)
        labels = canonical_labels(sample.labels)
        # A name of the catalogue has the catalogue's unit: this is another thing.
        name = SeriesName(f"exported_{sample.name}" if sample.name in BY_NAME else sample.name, labels)
        if kind == "made":
            continue
        if name in values or len(labels.encode()) > MAX_LABELS:
            shown.name_bad(sample.line, f"{sample.name}{labels}")
            continue
        values[name] = counters.rate(mapping.series_key(sample), sample.value) if kind == "counter" else sample.value
    return values
