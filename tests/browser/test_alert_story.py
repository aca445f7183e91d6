"""The whole story of an alert, from a threshold that an admin lowers to the mail that it is over."""

from __future__ import annotations

import email
import re
import time
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal.embedded.running import RunningPortal
from portal.system.bench._inside import inside
from tests.browser.limits import server_id

pytestmark = pytest.mark.slow

SERVER = "sim-web-07"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def threshold(portal: RunningPortal) -> Iterator[int]:
    """The id of a threshold of one server, which that server does not break; gone afterwards."""
    made = (
        f"metric=Metric.objects.get(name='cpu'), scope='server', server_id={server_id(portal, SERVER)}, critical=99.9"
    )
    pk = int(inside(portal, f"Threshold.objects.create({made}).pk"))
    yield pk
    inside(portal, f"Threshold.objects.filter(pk={pk}).delete()")


@pytest.fixture
def phone(chromium: Browser, signed_in: BrowserContext) -> Iterator[Page]:
    context = chromium.new_context(
        viewport={"width": 360, "height": 740},
        locale="en-GB",
        has_touch=True,
        storage_state=signed_in.storage_state(),
    )
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def set_critical(signed_in: BrowserContext, portal: RunningPortal, threshold: int, value: str) -> None:
    """In the admin, in a tab of its own, as a person does it."""
    admin = signed_in.new_page()
    admin.goto(f"{portal.url}/admin/alerts/threshold/{threshold}/change/")
    admin.fill("#id_critical", value)
    admin.fill("#id_change_reason", "To see whether somebody is told")
    admin.click("input[name=_save]")
    expect(admin.locator(".messagelist .success")).to_be_visible()
    admin.close()


def mail_about(portal: RunningPortal, is_it: Callable[[EmailMessage], bool]) -> EmailMessage:
    """The first mail of the local mailbox that is it; waits for it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for file in sorted((portal.data / "mail" / "new").iterdir()):
            mail = email.message_from_bytes(file.read_bytes(), policy=policy.default)
            if SERVER in mail["Subject"] and is_it(mail):
                return mail
        time.sleep(0.2)
    raise TimeoutError("the mail did not come")


def pictures(mail: EmailMessage) -> list[bytes]:
    return [part.get_content() for part in mail.walk() if part.get_content_type() == "image/png"]


def plain(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_from_a_lowered_threshold_to_the_mail_that_it_is_over(
    portal: RunningPortal, page: Page, signed_in: BrowserContext, phone: Page, threshold: int
) -> None:
    page.goto(portal.url)
    card = page.locator(f"#server-{server_id(portal, SERVER)}")
    toast = page.locator("#toasts .toast", has_text=SERVER)
    expect(card).to_have_class(re.compile("is-healthy"))
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")
    page.evaluate("window.stillTheSamePage = true")

    set_critical(signed_in, portal, threshold, "1")

    expect(card).to_have_class(re.compile("is-critical"), timeout=20_000)
    expect(toast).to_have_class(re.compile("is-error"))
    broke = mail_about(portal, lambda mail: mail["In-Reply-To"] is None)
    assert broke["To"] == "demo@localhost"
    assert [picture[:8] for picture in pictures(broke)] == [PNG]
    link = re.search(rf"{re.escape(portal.url)}/alerts/\d+/", plain(broke))
    assert link is not None

    phone.goto(link[0])
    phone.fill("#acknowledge input[name=reason]", "Looking into it")
    phone.click("#acknowledge button.is-primary")
    expect(phone.locator(".incident-state [data-part=status]")).to_have_text("Acknowledged")
    expect(phone.locator(".incident-state [data-part=owner]")).to_contain_text("Demo")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360

    set_critical(signed_in, portal, threshold, "99.9")

    expect(card).to_have_class(re.compile("is-healthy"), timeout=20_000)
    over = mail_about(portal, lambda mail: mail["In-Reply-To"] == broke["Message-ID"])
    assert over["Message-ID"] != broke["Message-ID"]
    assert over["References"] == broke["Message-ID"]
    assert link[0] in plain(over)
    expect(phone.locator(".incident-state [data-part=status]")).to_have_text("Resolved", timeout=20_000)
    assert page.evaluate("window.stillTheSamePage")
