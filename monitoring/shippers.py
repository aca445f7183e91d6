"""How programs that people run already are told to send their logs here: short settings, right as they stand."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from portal.toolkit.shown_once import Command

SYSLOG_PORT = 5514
"""Of the example: `up --syslog 5514`."""


def commands(url: str, token: str) -> list[Command]:
    """One for each program, for the portal at `url`."""
    return [
        Command(
            _("The agent, on a machine that has it (see its tab): the journal, and files by patterns."), _agent(url)
        ),
        Command(_("Grafana Alloy, in config.alloy:"), _alloy(url, token)),
        Command(_("Promtail, in its settings:"), _promtail(url, token)),
        Command(_("Fluent Bit, in fluent-bit.yaml:"), _fluent_bit(url, token)),
        Command(_("Vector, in vector.yaml:"), _vector(url, token)),
        Command(_("OpenTelemetry Collector, in its settings:"), _collector(url, token)),
        Command(_("A program that has an OpenTelemetry SDK, in its environment:"), _sdk(url, token)),
        Command(
            _("rsyslog, to a portal that listens for syslog and allows the network to use a token (see the manual):"),
            _rsyslog(url),
        ),
    ]


def _agent(url: str) -> str:
    follow = "--journal --file '/var/log/nginx/*.log' --file shop='/srv/shop/log/*.log'"
    return f"sudo python3 agent.py --url {url} --token-file openmanager.token \\\n  {follow} --install"


def _alloy(url: str, token: str) -> str:
    return f"""loki.write "openmanager" {{
  endpoint {{
    url          = "{url}/loki/api/v1/push"
    bearer_token = "{token}"
  }}
  external_labels = {{ host = constants.hostname }}
}}

loki.relabel "unit" {{
  forward_to = []
  rule {{
    source_labels = ["__journal__systemd_unit"]
    target_label  = "unit"
  }}
  rule {{
    source_labels = ["__journal_priority_keyword"]
    target_label  = "level"
  }}
}}

loki.source.journal "machine" {{
  relabel_rules = loki.relabel.unit.rules
  forward_to    = [loki.write.openmanager.receiver]
}}

local.file_match "nginx" {{
  path_targets = [{{ __path__ = "/var/log/nginx/*.log", source = "nginx" }}]
}}

loki.source.file "nginx" {{
  targets    = local.file_match.nginx.targets
  forward_to = [loki.write.openmanager.receiver]
}}"""


def _promtail(url: str, token: str) -> str:
    return f"""clients:
  - url: {url}/loki/api/v1/push
    bearer_token: {token}
    external_labels: {{host: web-1}}
scrape_configs:
  - job_name: journal
    journal: {{}}
    relabel_configs:
      - source_labels: [__journal__systemd_unit]
        target_label: unit
  - job_name: nginx
    static_configs:
      - labels: {{source: nginx, __path__: /var/log/nginx/*.log}}"""


def _fluent_bit(url: str, token: str) -> str:
    host, port, tls = _where(url)
    return f"""pipeline:
  inputs:
    - name: systemd
      tag: journal
      read_from_tail: on
    - name: tail
      tag: nginx
      path: /var/log/nginx/*.log
      db: /var/lib/fluent-bit/nginx.db
  outputs:
    - name: loki
      match: journal
      host: {host}
      port: {port}
      tls: {tls}
      bearer_token: {token}
      labels: host=$_HOSTNAME, unit=$_SYSTEMD_UNIT, priority=$PRIORITY
      line_format: json
    - name: loki
      match: nginx
      host: {host}
      port: {port}
      tls: {tls}
      bearer_token: {token}
      labels: host=${{HOSTNAME}}, source=nginx
      drop_single_key: raw"""


def _vector(url: str, token: str) -> str:
    return f"""sources:
  journal:
    type: journald
  nginx:
    type: file
    include: [/var/log/nginx/*.log]
sinks:
  openmanager_journal:
    type: loki
    inputs: [journal]
    endpoint: {url}
    auth: {{strategy: bearer, token: {token}}}
    encoding: {{codec: text}}
    labels:
      host: "{{{{ host }}}}"
      unit: "{{{{ _SYSTEMD_UNIT }}}}"
      priority: "{{{{ PRIORITY }}}}"
  openmanager_files:
    type: loki
    inputs: [nginx]
    endpoint: {url}
    auth: {{strategy: bearer, token: {token}}}
    encoding: {{codec: text}}
    labels:
      host: "{{{{ host }}}}"
      source: nginx
      filename: "{{{{ file }}}}\""""


def _collector(url: str, token: str) -> str:
    return f"""receivers:
  filelog:
    include: [/var/log/nginx/*.log]
    include_file_path: true
processors:
  resourcedetection:
    detectors: [system]
  batch:
exporters:
  otlphttp/openmanager:
    logs_endpoint: {url}/v1/logs
    headers: {{authorization: Bearer {token}}}
service:
  pipelines:
    logs:
      receivers: [filelog]
      processors: [resourcedetection, batch]
      exporters: [otlphttp/openmanager]"""


def _sdk(url: str, token: str) -> str:
    return f"""export OTEL_EXPORTER_OTLP_LOGS_ENDPOINT={url}/v1/logs
export OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_LOGS_HEADERS='authorization=Bearer%20{token}'
export OTEL_RESOURCE_ATTRIBUTES=host.name=web-1,service.name=shop"""


def _rsyslog(url: str) -> str:
    host, _port, _tls = _where(url)
    return f"""action(type="omfwd" target="{host}" port="{SYSLOG_PORT}" protocol="tcp"
       TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"
       queue.type="linkedList" queue.filename="openmanager" queue.saveOnShutdown="on"
       action.resumeRetryCount="-1")"""


def _where(url: str) -> tuple[str, int, str]:
    """Host, port and whether TLS is on, for programs that want them apart."""
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    return parts.hostname or "localhost", parts.port or (443 if is_tls else 80), "on" if is_tls else "off"
