"""A Kubernetes cluster, by its API server: the cluster as a whole, its nodes and its pods as servers of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ssl import SSLError
from typing import TypeVar
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.cluster import (
    Node,
    Pod,
    Usage,
    cluster_values,
    found_nodes,
    found_pods,
    read_node,
    read_node_usage,
    read_pod,
    read_pod_usage,
)
from monitoring.collectors.options import Needs, option, read_options, secret_of
from monitoring.collectors.shape import Shape, objects, read_object, text
from monitoring.collectors.together import together
from monitoring.models import Source
from portal.toolkit.http import Fetched, FetchError, fetch, tls_context
from portal.toolkit.sentence import Quantity, paragraph
from portal.toolkit.targets import Deadline, check_place

PAGE = 250
PAGE_BYTES = 32_000_000
LIST_BYTES = 128_000_000
GONE = 410
NOT_THERE = 404
STARTS = 3

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _check_namespaces(names: str) -> None:
    for name in _names(names):
        if not _NAMESPACE.fullmatch(name):
            raise ValidationError(_("“%(name)s” cannot be a namespace.") % {"name": name})


def _names(names: str) -> list[str]:
    return list(dict.fromkeys(names.replace(",", " ").split()))


@dataclass(frozen=True, slots=True)
class Options:
    authority: str = option(
        gettext_lazy("CA certificate"),
        default="",
        lines=True,
        help=gettext_lazy("PEM: who signed the API server's certificate. Empty: the system's authorities."),
    )
    verify: bool = option(
        gettext_lazy("Check the certificate"),
        default=True,
        help=gettext_lazy("Without it anybody in between can take the token."),
    )
    namespaces: str = option(
        gettext_lazy("Namespaces"),
        default="",
        check=_check_namespaces,
        help=gettext_lazy("Names with spaces in between. Empty: all."),
    )
    nodes: bool = option(
        gettext_lazy("Read nodes"),
        default=True,
        help=gettext_lazy("A token that may see only some namespaces may not list nodes."),
    )


def check_url(url: str) -> None:
    """Raise ValidationError, in words for whoever typed it, when no API server could be asked there."""
    try:
        check_place(url)
    except FetchError as error:
        raise ValidationError(str(error), code="url") from error


NEEDS = Needs(check_url=check_url, says=gettext_lazy("https://the-api-server:6443"), secret=True, options=Options)


def collect(source: Source, now_ms: int) -> Collected:
    """Four lists at the same time, each page by page; what measures usage may be missing."""
    options = read_options(Options, source)
    ask = _api(source, options, Deadline(source.timeout_s))
    namespaces = _names(options.namespaces)
    read: list[Callable[[], _Read]] = [
        lambda: _nodes(ask) if options.nodes else _Read(),
        lambda: _pods(ask, namespaces),
        lambda: _node_usage(ask) if options.nodes else _Read(),
        lambda: _pod_usage(ask, namespaces),
    ]
    cluster, listed, machines, measured = together(lambda each: each(), read)
    nodes, pods = cluster.nodes, listed.pods or []
    found = found_nodes(nodes or [], pods, machines.usage or {}) + found_pods(pods, nodes or [], measured.usage, now_ms)
    values = cluster_values(nodes, pods, machines.usage or {})
    samples = len(values) + sum(len(one.values) for one in found)
    complaints = dict.fromkeys(filter(None, (machines.complaint, measured.complaint)))
    return Collected(values, samples, paragraph(complaints), found)


@dataclass(frozen=True, slots=True)
class _Read:
    """One of the four lists; None is what was not asked for, or is not there. `complaint`: a stored sentence."""

    nodes: list[Node] | None = None
    pods: list[Pod] | None = None
    usage: dict[str, Usage] | None = None
    complaint: str = ""


def _nodes(ask: Ask) -> _Read:
    return _Read(nodes=[node for node in _items(ask, "/api/v1/nodes", read_node) if node.name])


def _pods(ask: Ask, namespaces: list[str]) -> _Read:
    """Those that are done are left out by the API server already; pods that failed are counted."""
    pods: dict[str, Pod] = {}
    for path in _paths("/api/v1", namespaces):
        pods |= {pod.name: pod for pod in _items(ask, path, read_pod, fieldSelector="status.phase!=Succeeded")}
    return _Read(pods=list(pods.values()))


def _node_usage(ask: Ask) -> _Read:
    return _usage(lambda: _items(ask, "/apis/metrics.k8s.io/v1beta1/nodes", read_node_usage))


def _pod_usage(ask: Ask, namespaces: list[str]) -> _Read:
    paths = _paths("/apis/metrics.k8s.io/v1beta1", namespaces)
    return _usage(lambda: [one for path in paths for one in _items(ask, path, read_pod_usage)])


def _usage(read: Callable[[], list[tuple[str, Usage]]]) -> _Read:
    """A cluster without metrics, or whose metrics do not answer now, has all the rest."""
    try:
        return _Read(usage=dict(read()))
    except _NotThereError:
        return _Read()
    except CollectError as error:
        return _Read(complaint=error.stored)


def _paths(base: str, namespaces: list[str]) -> list[str]:
    return [f"{base}/namespaces/{name}/pods" for name in namespaces] or [f"{base}/pods"]


# --- The API server ---------------------------------------------------------------------------------------------------
T = TypeVar("T")
Ask = Callable[[str], Fetched]
"""From a path to the answer; raises CollectError."""


class _NotThereError(Exception):
    """The cluster has no such part of the API."""


class _ExpiredError(Exception):
    """The list that was being read page by page is too old by now."""


def _api(source: Source, options: Options, deadline: Deadline) -> Ask:
    token, base = secret_of(source).strip(), source.url.rstrip("/")
    if token and not base.lower().startswith("https://"):
        raise CollectError(_t("a token is sent over https:// only"))
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CollectError(_t("the token of this source is none: it has spaces or line breaks in it"))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        tls = tls_context(options.authority, verify=options.verify) if options.authority or not options.verify else None
    except (SSLError, ValueError) as error:
        raise CollectError(
            _t("the CA certificate of this source is not usable: %(error)s"), error=str(error)
        ) from error

    def ask(path: str) -> Fetched:
        try:
            return fetch(
                base + path,
                timeout_s=deadline,
                max_bytes=PAGE_BYTES,
                accept="application/json",
                headers=headers,
                tls=tls,
            )
        except FetchError as error:
            raise CollectError.of(error) from error

    return ask


def _items(ask: Ask, path: str, read: Callable[[Shape], T], **query: str) -> list[T]:
    """All items of a list, as `read` takes them. One that expires while it is read is begun again, STARTS times."""
    for _start in range(STARTS):
        try:
            return [read(item) for page in _pages(ask, path, query) for item in page]
        except _ExpiredError:
            continue
    raise CollectError(_t("%(path)s: the list expired while it was read"), path=path)


def _pages(ask: Ask, path: str, query: dict[str, str]) -> Iterator[list[Shape]]:
    proceed, size = "", 0
    while True:
        asked = {**query, "limit": str(PAGE), **({"continue": proceed} if proceed else {})}
        answer = ask(f"{path}?{urlencode(asked)}")
        size += len(answer.body)
        if answer.status == GONE and proceed:
            raise _ExpiredError
        if size > LIST_BYTES:
            raise CollectError(
                _t("%(path)s: the list is larger than %(size)s"), path=path, size=Quantity(LIST_BYTES / 10**6, "MB")
            )
        page = _page(answer, path)
        yield objects(page, "items")
        former, proceed = proceed, text(page, "metadata", "continue")
        if not proceed:
            return
        if proceed == former:
            raise CollectError(_t("%(path)s: the list never ends"), path=path)


def _page(answer: Fetched, path: str) -> Shape:
    if answer.status == NOT_THERE and path.startswith("/apis/"):
        raise _NotThereError
    page = read_object(answer, path)
    if not isinstance(page.get("items"), list):
        raise CollectError(_t("%(what)s: the answer is not what was expected"), what=path)
    return page
