"""A security key is registered and asked for at the next sign-in, under the strict policy, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal.embedded.running import RunningPortal

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
USB_KEY = {
    "protocol": "ctap2",
    "transport": "usb",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def person(signed_in: BrowserContext, portal: RunningPortal) -> str:
    """Someone whom an admin added, for the demo account is everyone's."""
    page = signed_in.new_page()
    page.goto(f"{portal.url}/admin/accounts/user/add/")
    page.fill("#id_username", "keyholder")
    page.fill("#id_password1", PASSWORD)
    page.fill("#id_password2", PASSWORD)
    page.click("[name=_save]")
    page.wait_for_selector(".success")
    page.close()
    return "keyholder"


@pytest.fixture
def desk(chromium: Browser) -> Iterator[Page]:
    """A browser with a key in its socket. Browsers offer keys on https, and on http://localhost only."""
    context = chromium.new_context()
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": USB_KEY})
    yield page
    context.close()


def test_a_key_is_added_and_then_asked_for(desk: Page, person: str, portal: RunningPortal) -> None:
    complaints: list[str] = []
    desk.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    home = portal.url.replace("127.0.0.1", "localhost")

    _sign_in(desk, home, person)
    desk.goto(f"{home}/accounts/2fa/webauthn/add/")
    desk.fill("#id_password", PASSWORD)
    desk.click("main button[type=submit]")
    desk.click("#mfa_webauthn_add")
    expect(desk.get_by_role("heading", level=1)).to_have_text("Recovery Codes")

    desk.goto(f"{home}/accounts/logout/")
    desk.click("main button[type=submit]")
    _sign_in(desk, home, person)
    for _ in range(2):
        expect(desk).to_have_url(re.compile("/accounts/2fa/authenticate/"))
        desk.goto(f"{home}/")  # a password alone does not get past the question
    desk.click("#mfa_webauthn_authenticate")
    expect(desk).to_have_url(f"{home}/")
    assert complaints == []


def _sign_in(page: Page, home: str, name: str) -> None:
    page.goto(f"{home}/accounts/login/")
    page.fill("#id_login", name)
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_url(lambda url: "/accounts/login/" not in url)
