"""What brings a server in: a token for who sends, a source for what is read, a job that says that it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from monitoring import shippers
from monitoring.ingest import tokens
from monitoring.models import Collector, Job, PushToken, Series, Server, ServerGroup, ServerKind, Source
from portal.toolkit.sentence import say
from portal.toolkit.shown_once import Command
from portal.toolkit.tokens import new_text

SHOWN = 5
"""How many servers are named that one token brought."""


def make_token(way: str, group: ServerGroup, now: datetime) -> tuple[PushToken, str]:
    """A token of the group, and its text, which is kept nowhere."""
    text = new_text(tokens.PREFIX)
    token = PushToken(group=group)
    tokens.dress(token, text)
    token.name = f"{way} {now:%Y-%m-%d %H:%M:%S} …{token.hint}"
    token.save()
    return token, text


def add_endpoint(group: ServerGroup, server_name: str, url: str) -> Source:
    """A Prometheus endpoint that is read for a server of the group, which is made when there is none of that name.

    Raises ValidationError, by `server` and `url`. May ask the DNS for up to 2 s.
    """
    server = _server_named(server_name, group, ServerKind.HOST)
    source = Source(server=server, collector=Collector.PROMETHEUS, url=url)
    source.full_clean(exclude=None if server.pk else {"server"})
    with transaction.atomic():
        _save_new(server)
        source.save()
    return source


def add_job(group: ServerGroup, server_name: str, name: str, period_s: int) -> Job:
    """A job of a server of the group, made when there is none of that name; it may be a tenth of its period late.

    Raises ValidationError, by `server` and `name`.
    """
    server = _server_named(server_name, group, ServerKind.HOST)
    job = Job(server=server, name=name, period_s=period_s, grace_s=max(60, period_s // 10))
    job.full_clean(exclude=None if server.pk else {"server"})
    with transaction.atomic():
        _save_new(server)
        job.save()
    return job


def _server_named(name: str, group: ServerGroup, kind: ServerKind) -> Server:
    server = Server.objects.filter(name=name).first() or Server(name=name, group=group, kind=kind)
    if server.group_id != group.pk:
        raise ValidationError({"server": _taken()})
    if not server.pk:
        try:
            server.full_clean()
        except ValidationError as error:
            raise ValidationError({"server": error.messages}) from None
    return server


def _save_new(server: Server) -> None:
    if server.pk:
        return
    try:
        with transaction.atomic():
            server.save()
    except IntegrityError:
        raise ValidationError({"server": _taken()}) from None


def _taken() -> str:
    return _("This name is taken. Use another one.")


@dataclass(frozen=True, slots=True)
class Arrival:
    """Whether the first sample has come, of which servers, and what is in its way (a sentence, "" for nothing)."""

    has_come: bool
    servers: Sequence[Server] = ()
    problem: str = ""


def arrival_of_token(token: PushToken) -> Arrival:
    """One query."""
    sent = Series.objects.filter(pushed_by=token).order_by().values("server_id")
    servers = list(Server.objects.filter(pk__in=sent).order_by("name")[:SHOWN])
    if servers or token.samples or token.lines:
        return Arrival(True, servers)
    if token.refused:
        return Arrival(False, problem=_("What came was refused: the sender was told why."))
    return Arrival(False, problem=_("The token is used, and nothing was kept yet.") if token.used_at else "")


def arrival_of_source(source: Source) -> Arrival:
    return Arrival(source.ok_at is not None, [source.server], say(source.error))


def arrival_of_job(job: Job) -> Arrival:
    has_run = job.pinged_at is not None or job.failed_at is not None
    return Arrival(has_run, [job.server], _("It has started.") if job.started_at else "")


def commands_for(way: str, url: str, token: str) -> list[Command]:
    """What sends in this `way`, to the portal at `url`; [] for what is read and for jobs."""
    makers = {
        "agent": _agent,
        "curl": _curl,
        "prometheus": _prometheus,
        "otlp": _otlp,
        "logs": shippers.commands,
    }
    make = makers.get(way)
    return make(url, token) if make else []


def _agent(url: str, token: str) -> list[Command]:
    run = f"python3 agent.py --url {url} --token-file openmanager.token"
    return [
        Command(
            _("On the machine, fetch the agent and compare its sum:"),
            f"curl -fsSO {url}/agent.py && curl -fsS {url}/agent.py.sha256 | sha256sum --check",
        ),
        Command(
            _("Keep the token in a file that only you can read:"), f"(umask 077; echo {token} > openmanager.token)"
        ),
        Command(_("Try it; it says in words whether all is well:"), f"{run} --check"),
        Command(
            _("Let it run always, as a service with an account of its own; without sudo it is a service of yours:"),
            f"sudo {run} --install && rm openmanager.token",
        ),
        Command(
            _("Or with its logs: the journal, and files by patterns, through rotation and restarts:"),
            f"sudo {run} --journal --file '/var/log/nginx/*.log' --install && rm openmanager.token",
        ),
    ]


def _curl(url: str, token: str) -> list[Command]:
    head = f"curl -fsS -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' {url}/api/push"
    named = '{"host": "web-1", "metrics": {"cpu": 12.5, "queue_depth": 3}}'
    labelled = '{"host": "web-1", "metrics": {"queue_depth{queue=\\"mail\\"}": 3, "queue_depth{queue=\\"pay\\"}": 0}}'
    return [
        Command(_("Any names and numbers, one line from any shell:"), f"{head} \\\n  -d '{named}'"),
        Command(_("With labels:"), f"{head} \\\n  -d '{labelled}'"),
    ]


def _prometheus(url: str, token: str) -> list[Command]:
    lines = [
        "remote_write:",
        f"  - url: {url}/api/v1/write",
        "    authorization:",
        f"      credentials: {token}",
    ]
    return [
        Command(_("In prometheus.yml; each instance becomes a server:"), "\n".join(lines)),
        Command(_("Then have it read its settings:"), "sudo systemctl reload prometheus"),
    ]


def _otlp(url: str, token: str) -> list[Command]:
    lines = [
        f"export OTEL_EXPORTER_OTLP_METRICS_ENDPOINT={url}/v1/metrics",
        "export OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf",
        f"export OTEL_EXPORTER_OTLP_METRICS_HEADERS='authorization=Bearer%20{token}'",
        "export OTEL_RESOURCE_ATTRIBUTES=host.name=web-1",
    ]
    return [Command(_("In the environment of a program that has an OpenTelemetry SDK:"), "\n".join(lines))]


def commands_of_job(url: str, job: Job) -> list[Command]:
    ping = f"curl -fsS -m 10 --retry 5 -o /dev/null {url}/ping/{job.uuid}"
    return [
        Command(_("At the end of the job; its exit code says whether it failed:"), f"{ping}/$?"),
        Command(_("For example in a crontab:"), f"0 3 * * * /usr/local/bin/backup; {ping}/$?"),
    ]
