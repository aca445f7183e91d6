"""Google Cloud: the machines of a project as servers, by Cloud Monitoring's own client, an optional package."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import Collected, CollectError, Found
from monitoring.collectors.measures import KB, Values, tidy
from monitoring.collectors.options import Needs, option, read_options, secret_of
from monitoring.collectors.together import together
from monitoring.history.frame import SeriesName
from monitoring.models import ServerKind, Source
from portal.toolkit.sentence import sentence
from portal.toolkit.targets import Deadline, FetchError, parse_target, permitted_addresses, resolve_name

if TYPE_CHECKING:
    from google.cloud import monitoring_v3

INSTALL = ".venv/bin/python -m pip install -r requirements-gcp.txt"
WINDOW_S = 360
"""Google shows a minute's values up to four minutes late."""
ALIGN_S = 60
PAGE_POINTS = 10_000
MOST_SERIES = 20_000
MESSAGE_BYTES = 16_000_000

_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
_TOKENS = "https://oauth2.googleapis.com/token"
_HOST = "monitoring.googleapis.com"
_PROJECT = re.compile(r"(?:[a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Options:
    endpoint: str = option(
        gettext_lazy("Stand-in"),
        default="",
        help=gettext_lazy(
            "host:port of a service of this machine that speaks for Google's, without TLS and without the key; "
            "PORTAL_SCRAPE_ALLOW must name it."
        ),
    )


def check_url(url: str) -> None:
    """Raise ValidationError, in words for whoever typed it, when `url` is not a project's id."""
    if not _PROJECT.fullmatch(url):
        raise ValidationError(_("Write the id of the project, such as my-shop-123456."), code="url")


NEEDS = Needs(
    check_url=check_url,
    says=gettext_lazy("The id of the project"),
    secret=True,
    options=Options,
    every_s=(30, 48),
    jitter_s=4,
)


# --- What is asked for ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Question:
    """One kind of values: sums over the parts of a machine, as rates where Google counts; `factor` makes our unit."""

    metric: str
    type: str
    factor: float
    is_rate: bool = False
    condition: str = ""

    @property
    def is_of_agent(self) -> bool:
        return self.type.startswith(_AGENT)


_COMPUTE, _AGENT = "compute.googleapis.com/instance", "agent.googleapis.com"
QUESTIONS = (
    Question("cpu", f"{_COMPUTE}/cpu/utilization", 100.0),
    Question("net_rx", f"{_COMPUTE}/network/received_bytes_count", 1 / KB, is_rate=True),
    Question("net_tx", f"{_COMPUTE}/network/sent_bytes_count", 1 / KB, is_rate=True),
    Question("disk_read", f"{_COMPUTE}/disk/read_bytes_count", 1 / KB, is_rate=True),
    Question("disk_write", f"{_COMPUTE}/disk/write_bytes_count", 1 / KB, is_rate=True),
    Question("memory", f"{_AGENT}/memory/percent_used", 1.0, condition=' AND metric.labels.state = "used"'),
)
_BY = ["resource.labels.instance_id", "resource.labels.zone"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of one metric of one machine; the agent does not know the machine's `name`."""

    id: str
    zone: str
    name: str
    value: float


def collect(source: Source, now_ms: int) -> Collected:
    """One question for each metric, at the same time. A machine is there while Google knows its CPU."""
    deadline = Deadline(source.timeout_s)
    with _client(source, deadline) as client:
        answers = together(lambda question: _ask(client, source.url, question, now_ms, deadline), QUESTIONS)
    machines = {reading.id: reading for reading in answers[0]}
    values: dict[str, Values] = {machine: {} for machine in machines}
    for question, readings in zip(QUESTIONS, answers, strict=True):
        for reading in readings:
            if reading.id in values:
                values[reading.id][SeriesName(question.metric)] = reading.value * question.factor
    found = _found(machines, values)
    own = {SeriesName("machines"): float(len(found))}
    return Collected(own, len(own) + sum(len(one.values) for one in found), "", found)


def _found(machines: Mapping[str, Reading], values: Mapping[str, Values]) -> list[Found]:
    """By their names; where two zones have a machine of one name, with the zone."""
    times = Counter(machine.name for machine in machines.values())
    return [
        Found(
            machine.name if times[machine.name] == 1 else f"{machine.zone}/{machine.name}",
            ServerKind.HOST,
            tidy(values[machine.id]),
            machine.zone,
        )
        for machine in machines.values()
    ]


# --- The client -------------------------------------------------------------------------------------------------------
Client = Any
"""google.cloud.monitoring_v3.MetricServiceClient: known only where the package is installed."""


@contextmanager
def _client(source: Source, deadline: Deadline) -> Iterator[Client]:
    try:
        import grpc  # type: ignore[import-untyped]
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import monitoring_v3
        from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport
    except ImportError as error:
        raise CollectError(
            _t("the package google-cloud-monitoring is not installed; install it with: %(command)s"), command=INSTALL
        ) from error
    limits = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.enable_retries", 0)]
    endpoint = read_options(Options, source).endpoint
    if endpoint:
        channel = grpc.insecure_channel(_checked(endpoint, deadline), options=limits)
        transport = MetricServiceGrpcTransport(channel=channel)
    else:

        def made(host: str, *, options: object = None, **more: Any) -> grpc.Channel:
            return MetricServiceGrpcTransport.create_channel(host, options=limits, **more)

        transport = MetricServiceGrpcTransport(
            host=_HOST, credentials=_credentials(source), channel=made, always_use_jwt_access=True
        )
    try:
        with monitoring_v3.MetricServiceClient(transport=transport) as client:
            yield client
    except (GoogleAPICallError, GoogleAuthError) as error:
        raise CollectError(_in_words(error, source.url, deadline)) from error


def _checked(endpoint: str, deadline: Deadline) -> str:
    """Where to connect to: an address of this machine that the settings allow. Raises CollectError."""
    try:
        target = parse_target(f"http://{endpoint}")
        addresses = permitted_addresses(target, resolve_name, deadline)
    except FetchError as error:
        raise CollectError.of(error) from error
    if not addresses[0].is_loopback:
        raise CollectError(_t("a stand-in for Google's service is taken from this machine only"))
    host = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    return f"{host}:{target.port}"


def _credentials(source: Source) -> Any:
    """Of the service account, which signs for itself: nobody else is asked for a token, whatever the key names."""
    from google.oauth2 import service_account

    try:
        key = json.loads(secret_of(source))
        info = {name: str(key[name]) for name in ("client_email", "private_key", "private_key_id")}
        info["token_uri"] = _TOKENS
        return service_account.Credentials.from_service_account_info(info, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, KeyError) as error:
        raise CollectError(
            _t("the secret of this source must be the key of a service account, as the JSON file that Google gives")
        ) from error


def _in_words(error: Exception, project: str, deadline: Deadline) -> str:
    """As a stored sentence."""
    from google.api_core import exceptions

    said = str(getattr(error, "message", "") or error)
    if isinstance(error, exceptions.DeadlineExceeded):
        return deadline.missed().stored
    if isinstance(error, exceptions.ResourceExhausted | exceptions.TooManyRequests):
        return sentence(_t("the quota of %(project)s is used up: %(said)s"), project=project, said=said)
    if isinstance(error, exceptions.PermissionDenied):
        words = _t("the account needs the role Monitoring Viewer in %(project)s: %(said)s")
        return sentence(words, project=project, said=said)
    return sentence(_t("Google says: %(said)s"), said=said)


# --- One question -----------------------------------------------------------------------------------------------------
def _ask(client: Client, project: str, question: Question, now_ms: int, deadline: Deadline) -> list[Reading]:
    """Page by page; nothing where the project has no such metric, as without an agent."""
    from google.api_core.exceptions import NotFound

    request = _request(project, question, now_ms // 1000)
    readings: list[Reading] = []
    try:
        while True:
            page = _page(client, request, deadline)
            readings += filter(None, map(_reading, page.time_series))
            if len(readings) > MOST_SERIES:
                raise CollectError(
                    _t("%(metric)s: more than %(most)s machines"), metric=question.metric, most=str(MOST_SERIES)
                )
            if not page.next_page_token:
                return readings
            if page.next_page_token == request.page_token:
                raise CollectError(_t("%(path)s: the list never ends"), path=question.type)
            request.page_token = page.next_page_token
    except NotFound:
        if question.is_of_agent:
            return []
        raise


def _page(client: Client, request: monitoring_v3.ListTimeSeriesRequest, deadline: Deadline) -> Any:
    """One answer, within what is left: the client's own way of paging gives each page the whole time again."""
    try:
        left = deadline.left()
    except FetchError as error:
        raise CollectError.of(error) from error
    return next(iter(client.list_time_series(request, timeout=left, retry=None).pages))


def _request(project: str, question: Question, now_s: int) -> monitoring_v3.ListTimeSeriesRequest:
    from google.cloud import monitoring_v3

    aligner, reducer = monitoring_v3.Aggregation.Aligner, monitoring_v3.Aggregation.Reducer
    return monitoring_v3.ListTimeSeriesRequest(
        name=f"projects/{project}",
        filter=f'metric.type = "{question.type}" AND resource.type = "gce_instance"{question.condition}',
        interval={"start_time": {"seconds": now_s - WINDOW_S}, "end_time": {"seconds": now_s}},
        aggregation={
            "alignment_period": {"seconds": ALIGN_S},
            "per_series_aligner": aligner.ALIGN_RATE if question.is_rate else aligner.ALIGN_MEAN,
            "cross_series_reducer": reducer.REDUCE_SUM,
            "group_by_fields": _BY if question.is_of_agent else [*_BY, "metric.labels.instance_name"],
        },
        page_size=PAGE_POINTS,
    )


def _reading(series: monitoring_v3.TimeSeries) -> Reading | None:
    """Of its newest point, which is the first."""
    labels = series.resource.labels
    if not labels.get("instance_id") or not series.points:
        return None
    value = series.points[0].value
    number = value.int64_value if "int64_value" in value else value.double_value
    identity = labels["instance_id"]
    return Reading(
        identity, labels.get("zone", ""), series.metric.labels.get("instance_name") or identity, float(number)
    )
