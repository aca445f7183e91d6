"""The page on which servers are added."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from monitoring.ingest import tokens
from monitoring.ingest.doors import intake
from monitoring.ingest.tokens import digest_of
from monitoring.models import Job, PushToken, Server, Source
from tests.asgi import ask
from tests.cast import Cast, make_cast, sign_in
from tests.monitoring.ingest.conftest import forget_all

pytestmark = pytest.mark.django_db
WAYS = ("agent", "curl", "prometheus", "otlp", "logs")


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def owner(cast: Cast) -> Client:
    return sign_in(cast.owner)


def address(way: str) -> str:
    return f"{reverse('monitoring:add')}?way={way}"


def make_token(owner: Client, cast: Cast, way: str = "agent") -> tuple[PushToken, str]:
    """The token, and the answer in which its text is."""
    answer = owner.post(address(way), {"group": cast.group.pk})
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    return PushToken.objects.get(), html.unescape(answer.content.decode())


def text_in(page: str) -> str:
    found = re.search(r"omp_[\w-]{43}", page)
    assert found is not None
    return found.group()


@pytest.mark.parametrize("way", WAYS)
def test_a_token_is_made_for_a_way_and_filled_into_its_commands(owner: Client, cast: Cast, way: str) -> None:
    token, page = make_token(owner, cast, way)
    text = text_in(page)
    assert token.digest == digest_of(text)
    assert (token.group, token.adds_servers) == (cast.group, True)
    assert way in token.name
    commands = "".join(re.findall(r"<pre[^>]*><code>(.*?)</code>", page, re.S))
    assert text in commands
    assert "http://127.0.0.1:8000" in commands
    assert token.history.get().history_user == cast.owner


@pytest.mark.parametrize("way", WAYS)
def test_the_text_of_a_token_is_shown_once(owner: Client, cast: Cast, way: str) -> None:
    token, page = make_token(owner, cast, way)
    again = owner.get(f"{address(way)}&added={token.pk}").content.decode()
    assert text_in(page) not in again
    assert f"Waiting for the first {'line' if way == 'logs' else 'sample'}" in again
    assert "omp_" not in owner.get(address(way)).content.decode()


def test_a_token_is_not_made_for_somebody_elses_group(owner: Client, cast: Cast) -> None:
    answer = owner.post(address("agent"), {"group": cast.elsewhere.pk})
    assert answer.status_code == 422
    assert not PushToken.objects.exists()


def test_only_groups_of_ones_own_are_offered(owner: Client, cast: Cast) -> None:
    page = owner.get(address("agent")).content.decode()
    assert ">Web shop</option>" in page
    assert ">Elsewhere</option>" not in page


def waiting(client: Client, kind: str, pk: int) -> str:
    return client.get(reverse("monitoring:add_waiting", args=[kind, pk])).content.decode()


@pytest.fixture
def pushes_are_forgotten() -> Iterator[None]:
    """What this process counted is written some seconds later, into another test."""
    forget_all()
    yield
    forget_all()


@pytest.mark.usefixtures("pushes_are_forgotten")
@pytest.mark.django_db(transaction=True)
def test_it_turns_green_with_the_first_sample(owner: Client, cast: Cast) -> None:
    token, page = make_token(owner, cast)
    before = waiting(owner, "token", token.pk)
    assert "Waiting for the first sample" in before
    assert 'hx-trigger="every 2s"' in before
    headers = {"authorization": f"Bearer {text_in(page)}", "content-type": "application/json"}
    sent = ask(intake(), "POST", "/api/push", b'{"host": "new-one", "metrics": {"cpu": 1}}', headers)
    assert sent.status == 200, sent.body
    after = waiting(owner, "token", token.pk)
    server = Server.objects.get(name="new-one")
    assert f'<a href="/servers/{server.pk}/">new-one</a>' in after
    assert "has-come" in after
    assert "hx-get" not in after


@pytest.mark.usefixtures("pushes_are_forgotten")
@pytest.mark.django_db(transaction=True)
def test_it_turns_green_with_the_first_line(owner: Client, cast: Cast) -> None:
    token, page = make_token(owner, cast, "logs")
    address_of_waiting = f"{reverse('monitoring:add_waiting', args=['token', token.pk])}?way=logs"
    assert address_of_waiting in page
    line = {"stream": {"host": "new-one", "source": "x"}, "values": [[str(time.time_ns()), "it works"]]}
    headers = {"authorization": f"Bearer {text_in(page)}", "content-type": "application/json"}
    sent = ask(intake(), "POST", "/loki/api/v1/push", json.dumps({"streams": [line]}).encode(), headers)
    assert sent.status == 204, sent.body
    tokens.flush()
    assert "The first line has come." in owner.get(address_of_waiting).content.decode()


def test_programs_for_logs_are_told_where_and_as_whom(owner: Client, cast: Cast) -> None:
    _, page = make_token(owner, cast, "logs")
    text = text_in(page)
    blocks = re.findall(r"<pre[^>]*><code>(.*?)</code>", page, re.S)
    told = [block for block in blocks if text in block]
    assert len(told) == len(blocks) - 2, "all but the agent, which has a file, and syslog, which knows no tokens"
    assert all("127.0.0.1" in block for block in blocks)
    assert any('bearer_token = "omp_' in block and "/loki/api/v1/push" in block for block in told)


def test_what_is_refused_is_said_while_waiting(owner: Client, cast: Cast) -> None:
    token, _ = make_token(owner, cast)
    PushToken.objects.update(refused=3)
    assert "What came was refused" in waiting(owner, "token", token.pk)


ENDPOINT = {"server": "web-7", "url": "http://192.0.2.7:9100/metrics"}


@pytest.fixture
def scraping_is_allowed(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["192.0.2.0/24"]


@pytest.mark.usefixtures("scraping_is_allowed")
def test_an_endpoint_becomes_a_server_with_a_source(owner: Client, cast: Cast) -> None:
    answer = owner.post(address("scrape"), {"group": cast.group.pk, **ENDPOINT}, follow=True)
    source = Source.objects.get()
    assert (source.server.name, source.server.group, source.url) == ("web-7", cast.group, ENDPOINT["url"])
    assert "Waiting for the first sample" in answer.content.decode()
    Source.objects.update(error="Nobody answers there.")
    assert "Nobody answers there." in waiting(owner, "source", source.pk)
    Source.objects.update(ok_at=source.server.created_at)
    assert "The first sample has come." in waiting(owner, "source", source.pk)


@pytest.mark.usefixtures("scraping_is_allowed")
def test_an_endpoint_may_be_of_a_server_that_is_there(owner: Client, cast: Cast) -> None:
    owner.post(address("scrape"), {"group": cast.group.pk, **ENDPOINT, "server": cast.server.name})
    assert Source.objects.get().server == cast.server
    twice = owner.post(address("scrape"), {"group": cast.group.pk, **ENDPOINT, "server": cast.server.name})
    assert twice.status_code == 422
    assert Source.objects.count() == 1


@pytest.mark.usefixtures("scraping_is_allowed")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": "ftp://web-7/"}, "http"),
        ({"url": "http://169.254.169.254/latest/"}, "169.254.169.254"),
        ({"url": ""}, "required"),
        ({"server": "two\nlines"}, "control characters"),
        ({"server": "of-another"}, "This name is taken"),
    ],
)
def test_an_endpoint_that_cannot_be_is_told_and_nothing_is_added(
    owner: Client, cast: Cast, wrong: dict[str, str], words: str
) -> None:
    Server.objects.create(name="of-another", group=cast.elsewhere)
    answer = owner.post(address("scrape"), {"group": cast.group.pk, **ENDPOINT, **wrong})
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not Source.objects.exists()
    assert Server.objects.count() == 2


def test_a_job_gets_an_address_to_ping_and_is_waited_for(owner: Client, cast: Cast) -> None:
    form = {"group": cast.group.pk, "server": "db-1", "name": "backup", "period": "86400"}
    page = owner.post(address("job"), form, follow=True).content.decode()
    job = Job.objects.get()
    assert (job.server.name, job.period_s, job.grace_s) == ("db-1", 86_400, 8640)
    assert f"/ping/{job.uuid}/$?" in page
    assert "Waiting for its first run" in page
    Job.objects.update(pinged_at=job.created_at)
    assert "The job has said that it ran." in waiting(owner, "job", job.pk)


def test_what_others_added_is_not_there(cast: Cast, owner: Client) -> None:
    token, _ = make_token(owner, cast)
    stranger = sign_in(cast.stranger)
    assert stranger.get(f"{address('agent')}&added={token.pk}").status_code == 404
    assert stranger.get(reverse("monitoring:add_waiting", args=["token", token.pk])).status_code == 404


@pytest.mark.parametrize("said", ["", "x", "-1", "9" * 30, "٣"])
def test_what_was_never_added_is_not_there(owner: Client, said: str) -> None:
    assert owner.get(address("agent"), {"way": "agent", "added": said}).status_code == 404


@pytest.mark.parametrize(("way", "most"), [("agent", 8), ("scrape", 8), ("job", 8)])
def test_a_tab_costs_few_queries(owner: Client, django_assert_max_num_queries: Any, way: str, most: int) -> None:
    owner.get(address(way))
    with django_assert_max_num_queries(most):
        owner.get(address(way))


def test_waiting_costs_few_queries_however_much_was_sent(
    owner: Client, cast: Cast, django_assert_max_num_queries: Any
) -> None:
    token, _ = make_token(owner, cast)
    with django_assert_max_num_queries(5):
        waiting(owner, "token", token.pk)


@pytest.mark.parametrize("who", ["owner", "superuser", "operator", "reader"])
def test_the_fleet_leads_there_whoever_may_add(cast: Cast, who: str) -> None:
    page = sign_in(cast.by_name()[who]).get("/").content.decode()
    assert ("/servers/add/" in page) == (who in {"owner", "superuser"})


def test_a_fleet_without_servers_leads_there_too(cast: Cast) -> None:
    page = sign_in(cast.stranger).get("/").content.decode()
    assert 'href="/servers/add/?way=scrape"' in page


def test_the_agent_can_be_fetched_by_anyone_and_compared(client: Client) -> None:
    answer, told = client.get("/agent.py"), client.get("/agent.py.sha256").content.decode()
    assert answer.headers["Content-Type"].startswith("text/x-python")
    assert told == f"{digest_of(answer.content.decode())}  agent.py\n"
    again = client.get("/agent.py", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
