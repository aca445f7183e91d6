"""What every person gets at every door: the table that test_every_door.py walks. A new URL or topic is added here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SIGNED_IN = ("stranger", "reader", "operator", "owner", "superuser")
MEMBERS = SIGNED_IN[1:]
ANYONE = ("anonymous", *SIGNED_IN)

GATE = 0
"""Sent to sign in, to come back afterwards."""

Statuses = dict[str, int]


def anyone(status: int) -> Statuses:
    return dict.fromkeys(ANYONE, status)


def signed_in(status: int) -> Statuses:
    return {"anonymous": GATE, **dict.fromkeys(SIGNED_IN, status)}


def members(status: int) -> Statuses:
    """Those of the server's group; another group's admin is told that there is no such thing."""
    return {"anonymous": GATE, "stranger": 404, **dict.fromkeys(MEMBERS, status)}


def operators(status: int) -> Statuses:
    """Those who may act on the group's servers; who only sees them is told that it is not theirs to do."""
    return members(status) | {"reader": 403}


def adders(status: int) -> Statuses:
    """Admins of any group: the stranger is one of another, and sees nothing of this one there."""
    return {**signed_in(status), "reader": 403, "operator": 403}


def staff(status: int) -> Statuses:
    """Of the cast only the superuser: who is admin of a group is not admin of the portal."""
    return {**anyone(GATE), "superuser": status}


def programs(status: int, **others: int) -> Statuses:
    """The API tells a program that it must say who it is; a member of the server's group gets `status`."""
    return members(status) | {"anonymous": 401} | others


def its_owner(status: int, anonymous: int = GATE) -> Statuses:
    """An export is its owner's alone, here the reader's."""
    return {**anyone(404), "anonymous": anonymous, "reader": status}


NOT_ALLOWED = anyone(405)
NO_POST = signed_in(405)
NO_GET = signed_in(405)
PROGRAMS_ONLY_READ = {**signed_in(405), "anonymous": 401}
REAUTHENTICATE = signed_in(302)
"""First the password again."""


@dataclass(frozen=True)
class Door:
    """A path, with {ids} of the world, and what everyone gets there; `post` is sent with an empty form."""

    path: str
    get: Statuses
    post: Statuses


def _admin(
    model: str, get: dict[str, int], post: dict[str, int], *, history: bool = True
) -> Iterator[tuple[str, Door]]:
    """The doors that Django's admin makes for `model`; statuses are the superuser's, page by page."""
    app, name = model.split("_", 1)
    root, one = f"/admin/{app}/{name}/", f"/admin/{app}/{name}/{{{name}}}/"
    pages = {
        "changelist": root,
        "add": f"{root}add/",
        "change": f"{one}change/",
        "history": f"{one}history/",
        "delete": f"{one}delete/",
    }
    if history:
        pages["simple_history"] = f"{one}history/{{{name}_version}}/"
    for page, path in pages.items():
        yield f"admin:{model}_{page}", Door(path, staff(get[page]), staff(post[page]))
    yield f"admin/{app}/{name}/<path:object_id>/", Door(one, staff(302), staff(302))


READ = {"changelist": 200, "add": 200, "change": 200, "history": 200, "delete": 200, "simple_history": 200}
EMPTY_FORM = READ
"""An empty form is shown again with what is missing; a deletion is asked about again."""
ONLY_LOOK = {"add": 403, "change": 403, "delete": 403}
NO_DELETE = {"delete": 403}
NO_ADD_NO_DELETE = {"add": 403, "delete": 403}

DOORS: dict[str, Door] = {
    # Probes
    "healthz": Door("/healthz", anyone(200), NOT_ALLOWED),
    "readyz": Door("/readyz", anyone(200), NOT_ALLOWED),
    # The portal itself
    "system": Door("/system/", {**signed_in(403), "superuser": 200}, {**signed_in(405)}),
    # The agent
    "monitoring:agent": Door("/agent.py", anyone(200), NOT_ALLOWED),
    "monitoring:agent_sha256": Door("/agent.py.sha256", anyone(200), NOT_ALLOWED),
    # Monitoring
    "monitoring:fleet": Door("/", signed_in(200), NO_POST),
    "monitoring:add": Door("/servers/add/", adders(200), adders(422)),
    "monitoring:add_waiting": Door("/servers/add/token/{pushtoken}/", adders(200) | {"stranger": 404}, NO_POST),
    "monitoring:server": Door("/servers/{server}/", members(200), NO_POST),
    "monitoring:samples": Door("/servers/{server}/samples/", members(200), NO_POST),
    "monitoring:history": Door("/servers/{server}/history/", members(200), NO_POST),
    "monitoring:ask_history_export": Door("/servers/{server}/exports/", NO_GET, members(302)),
    "monitoring:logs": Door("/logs/?server={server}", signed_in(200), NO_POST),
    "monitoring:logs_lines": Door("/logs/lines/?server={server}", signed_in(200), NO_POST),
    "monitoring:logs_histogram": Door("/logs/histogram/?server={server}", signed_in(200), NO_POST),
    "monitoring:logs_choices": Door("/logs/choices/?server={server}", signed_in(200), NO_POST),
    "monitoring:logs_panel": Door("/logs/panel/?server={server}", members(200), NO_POST),
    "monitoring:ask_log_export": Door("/logs/export/", NO_GET, signed_in(302)),
    "monitoring:export": Door("/exports/{export}/", its_owner(200), NO_POST),
    # The API
    "api:openapi-json": Door("/api/openapi.json", anyone(200), NOT_ALLOWED),
    "api:openapi-view": Door("/api/docs", anyone(200), NOT_ALLOWED),
    "api:api-root": Door("/api/", {**anyone(404), "anonymous": 401}, PROGRAMS_ONLY_READ),
    "api:dashboard": Door("/api/dashboard", {**anyone(200), "anonymous": 401}, PROGRAMS_ONLY_READ),
    "api:servers": Door("/api/monitoring/servers?serverId={server}", programs(200), PROGRAMS_ONLY_READ),
    "api:performance": Door("/api/monitoring/performance?serverId={server}", programs(200), PROGRAMS_ONLY_READ),
    "api:redis_status": Door("/api/system/redis", {**anyone(200), "anonymous": 401}, PROGRAMS_ONLY_READ),
    "api:stream": Door("/api/monitoring/stream", {**anyone(200), "anonymous": 401}, {**anyone(400), "anonymous": 401}),
    "api:state": Door(
        "/api/monitoring/state?topic=server:{server}", {**anyone(200), "anonymous": 401}, PROGRAMS_ONLY_READ
    ),
    "api:history": Door("/api/monitoring/history?serverId={server}", programs(200), PROGRAMS_ONLY_READ),
    "api:ask_for_export": Door("/api/monitoring/exports", PROGRAMS_ONLY_READ, {**programs(400), "stranger": 400}),
    "api:logs": Door("/api/monitoring/logs?server={server}", programs(200), PROGRAMS_ONLY_READ),
    "api:ask_for_log_export": Door(
        "/api/monitoring/logs/exports", PROGRAMS_ONLY_READ, {**programs(400), "stranger": 400}
    ),
    "api:export": Door("/api/monitoring/exports/{export}", its_owner(200, 401), PROGRAMS_ONLY_READ),
    "api:export_file": Door("/api/monitoring/exports/{export}/file", its_owner(409, 401), PROGRAMS_ONLY_READ),
    # Alerts
    "alerts:list": Door("/alerts/", signed_in(200), NO_POST),
    "alerts:incident": Door("/alerts/{incident}/", members(200), NO_POST),
    "alerts:chart": Door("/alerts/{incident}/chart/", members(200), NO_POST),
    "alerts:acknowledge": Door("/alerts/{incident}/acknowledge/", NO_GET, operators(422)),
    "alerts:release": Door("/alerts/{incident}/release/", NO_GET, operators(302)),
    "alerts:comment": Door("/alerts/{incident}/comment/", NO_GET, operators(422)),
    "alerts:silence": Door("/alerts/{incident}/silence/", NO_GET, operators(422)),
    "alerts:unsilence": Door("/alerts/{incident}/unsilence/", NO_GET, operators(302)),
    # Alerts on pages of servers
    "alerts:server_panel": Door("/alerts/servers/{server}/", members(200), NO_POST),
    # One's own account
    "accounts:preferences": Door("/accounts/preferences/", signed_in(200), signed_in(302)),
    "accounts:language": Door("/accounts/language/", NOT_ALLOWED, anyone(400)),
    # Signing in
    "account_login": Door("/accounts/login/", anyone(302) | {"anonymous": 200}, anyone(302) | {"anonymous": 200}),
    "account_logout": Door("/accounts/logout/", anyone(200) | {"anonymous": 302}, anyone(302)),
    "account_inactive": Door("/accounts/inactive/", anyone(200), NOT_ALLOWED),
    "account_signup": Door("/accounts/signup/", anyone(302) | {"anonymous": 200}, anyone(302) | {"anonymous": 200}),
    "account_reauthenticate": Door("/accounts/reauthenticate/", signed_in(200), signed_in(200)),
    "account_email": Door("/accounts/email/", signed_in(200), signed_in(302)),
    "account_email_verification_sent": Door("/accounts/confirm-email/", anyone(200), NOT_ALLOWED),
    "account_confirm_email": Door("/accounts/confirm-email/wrong-key/", anyone(200), anyone(404)),
    "account_change_password": Door("/accounts/password/change/", signed_in(200), signed_in(200)),
    "account_set_password": Door("/accounts/password/set/", signed_in(302), signed_in(302)),
    "account_reset_password": Door("/accounts/password/reset/", anyone(200), anyone(200)),
    "account_reset_password_done": Door("/accounts/password/reset/done/", anyone(200), NOT_ALLOWED),
    "account_reset_password_from_key": Door("/accounts/password/reset/key/1-wrong/", anyone(200), anyone(200)),
    "account_reset_password_from_key_done": Door("/accounts/password/reset/key/done/", anyone(200), NOT_ALLOWED),
    "account_confirm_login_code": Door("/accounts/login/code/confirm/", anyone(302), anyone(302)),
    # The second factor: nobody of the cast has one
    "mfa_index": Door("/accounts/2fa/", signed_in(200), NO_POST),
    "mfa_authenticate": Door("/accounts/2fa/authenticate/", anyone(302), anyone(302)),
    "mfa_reauthenticate": Door("/accounts/2fa/reauthenticate/", signed_in(302), signed_in(302)),
    "mfa_activate_totp": Door("/accounts/2fa/totp/activate/", REAUTHENTICATE, REAUTHENTICATE),
    "mfa_deactivate_totp": Door("/accounts/2fa/totp/deactivate/", signed_in(404), signed_in(404)),
    "mfa_view_recovery_codes": Door("/accounts/2fa/recovery-codes/", signed_in(404), NO_POST),
    "mfa_generate_recovery_codes": Door("/accounts/2fa/recovery-codes/generate/", REAUTHENTICATE, REAUTHENTICATE),
    "mfa_download_recovery_codes": Door("/accounts/2fa/recovery-codes/download/", signed_in(404), signed_in(404)),
    "mfa_list_webauthn": Door("/accounts/2fa/webauthn/", signed_in(200), NO_POST),
    "mfa_add_webauthn": Door("/accounts/2fa/webauthn/add/", REAUTHENTICATE, REAUTHENTICATE),
    "mfa_reauthenticate_webauthn": Door("/accounts/2fa/webauthn/reauthenticate/", signed_in(302), signed_in(302)),
    "mfa_remove_webauthn": Door("/accounts/2fa/webauthn/keys/1/remove/", REAUTHENTICATE, REAUTHENTICATE),
    "mfa_edit_webauthn": Door("/accounts/2fa/webauthn/keys/1/edit/", REAUTHENTICATE, REAUTHENTICATE),
    "usersessions_list": Door("/accounts/sessions/", signed_in(200), signed_in(302)),
    # The admin
    "admin:index": Door("/admin/", staff(200), staff(200)),
    "admin:login": Door(
        "/admin/login/",
        {"anonymous": GATE, **dict.fromkeys(SIGNED_IN, 403), "superuser": 302},
        {"anonymous": GATE, **dict.fromkeys(SIGNED_IN, 403), "superuser": 200},
    ),
    "admin:logout": Door(
        "/admin/logout/",
        {"anonymous": GATE, **dict.fromkeys(SIGNED_IN, 302), "superuser": 405},
        {"anonymous": GATE, **dict.fromkeys(SIGNED_IN, 302), "superuser": 200},
    ),
    "admin:password_change": Door("/admin/password_change/", staff(200), staff(200)),
    "admin:password_change_done": Door("/admin/password_change/done/", staff(200), staff(405)),
    "admin:autocomplete": Door(
        "/admin/autocomplete/?app_label=monitoring&model_name=server&field_name=group", staff(200), staff(405)
    ),
    "admin:jsi18n": Door("/admin/jsi18n/", staff(200), staff(405)),
    "admin:view_on_site": Door("/admin/r/{server_type}/{server}/", staff(302), staff(302)),
    "admin:app_list": Door("/admin/monitoring/", staff(200), staff(200)),
    "admin/(?P<url>.*)$": Door("/admin/no/such/page/", staff(404), staff(404)),
    "admin:auth_user_password_change": Door("/admin/accounts/user/{user}/password/", staff(200), staff(200)),
    **dict(_admin("accounts_user", READ | NO_DELETE, EMPTY_FORM | NO_DELETE)),
    **dict(_admin("accounts_readtoken", READ, EMPTY_FORM)),
    **dict(_admin("monitoring_servergroup", READ, EMPTY_FORM)),
    **dict(_admin("monitoring_server", READ, EMPTY_FORM)),
    **dict(_admin("monitoring_source", READ, EMPTY_FORM)),
    **dict(_admin("monitoring_servertemplate", READ, EMPTY_FORM)),
    **dict(
        _admin(
            "monitoring_simulation",
            READ | NO_ADD_NO_DELETE | {"changelist": 302},
            EMPTY_FORM | NO_ADD_NO_DELETE | {"changelist": 302, "change": 302, "simple_history": 302},
        )
    ),
    **dict(_admin("monitoring_pushtoken", READ, EMPTY_FORM)),
    **dict(_admin("monitoring_job", READ, EMPTY_FORM)),
    **dict(_admin("monitoring_followedlog", READ | NO_ADD_NO_DELETE, EMPTY_FORM | ONLY_LOOK, history=False)),
    **dict(_admin("monitoring_metric", READ | NO_ADD_NO_DELETE, EMPTY_FORM | ONLY_LOOK, history=False)),
    **dict(_admin("monitoring_retention", READ, EMPTY_FORM)),
    **dict(_admin("alerts_threshold", READ, EMPTY_FORM)),
    **dict(_admin("alerts_rota", READ, EMPTY_FORM)),
    **dict(_admin("alerts_silence", READ, EMPTY_FORM)),
    **dict(_admin("alerts_incident", READ | NO_ADD_NO_DELETE, EMPTY_FORM | ONLY_LOOK, history=False)),
    **dict(_admin("alerts_delivery", READ | NO_ADD_NO_DELETE, EMPTY_FORM | ONLY_LOOK, history=False)),
    **dict(_admin("alerts_bounce", READ | {"add": 403}, EMPTY_FORM | {"add": 403, "change": 403}, history=False)),
}

WAYS_IN: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "/api/push": ("/api/push", ("POST",), True),
    "/api/v1/write": ("/api/v1/write", ("POST",), True),
    "/v1/metrics": ("/v1/metrics", ("POST",), True),
    "/v1/logs": ("/v1/logs", ("POST",), True),
    "/loki/api/v1/push": ("/loki/api/v1/push", ("POST",), True),
    "/ready": ("/ready", ("GET", "HEAD"), False),
    r"/ping/(?P<job>[^/]{1,100})(?:/(?P<word>[^/]{1,20}))?": (
        "/ping/0b6ec2ad-2a6f-4c52-a9c9-9f6e9f0a3a11",
        ("GET", "HEAD", "POST"),
        False,
    ),
}
"""Ways in for programs, which stand before Django: by the path of the door one to ask, the methods, and whether it asks
for a token."""

TOPICS: dict[str, tuple[str, dict[str, str | None]]] = {
    "server": ("{server}", {"anonymous": None, "stranger": None, **dict.fromkeys(MEMBERS, "{server}")}),
    "vitals": ("{server}", {"anonymous": None, "stranger": None, **dict.fromkeys(MEMBERS, "{server}")}),
    "samples": ("{server}", {"anonymous": None, "stranger": None, **dict.fromkeys(MEMBERS, "{server}")}),
    "fleet": (
        "",
        {"anonymous": "", "stranger": "{elsewhere}", **dict.fromkeys(MEMBERS, "{group}"), "superuser": "*"},
    ),
    "alerts": (
        "",
        {"anonymous": "", "stranger": "{elsewhere}", **dict.fromkeys(MEMBERS, "{group}"), "superuser": "*"},
    ),
    "incidents": (
        "",
        {"anonymous": "", "stranger": "{elsewhere}", **dict.fromkeys(MEMBERS, "{group}"), "superuser": "*"},
    ),
    "logs": (
        "",
        {"anonymous": "", "stranger": "{elsewhere}", **dict.fromkeys(MEMBERS, "{group}"), "superuser": "*"},
    ),
    "incident": ("{incident}", {"anonymous": None, "stranger": None, **dict.fromkeys(MEMBERS, "{incident}")}),
}
"""By topic: the key that is asked for, and the canonical key that each person watches (None: may not)."""
