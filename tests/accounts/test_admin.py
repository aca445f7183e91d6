from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from alerts.models import Bounce
from monitoring.models import Membership, Role
from portal.accounts.models import User
from tests.cast import PASSWORD, Cast, make_cast, person, sign_in

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/user/"
NO_MEMBERSHIPS = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


@pytest.fixture
def clerk(cast: Cast) -> Client:
    """Staff who may add and change people, and nothing else."""
    user = person("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["add_user", "change_user", "view_user"]))
    return sign_in(user)


def new_person(**fields: object) -> dict[str, object]:
    named = {"username": "new", "email": "new@example.org", "usable_password": "true"}
    return named | {"password1": PASSWORD, "password2": PASSWORD} | NO_MEMBERSHIPS | fields


def test_an_admin_adds_a_person_with_a_first_password_and_a_role(cast: Cast, admin: Client, client: Client) -> None:
    role = {"memberships-TOTAL_FORMS": 1, "memberships-0-group": cast.group.pk, "memberships-0-role": Role.OPERATOR}
    assert admin.post(f"{LIST}add/", new_person(**role)).status_code == 302
    client.post("/accounts/login/", {"login": "new@example.org", "password": PASSWORD})
    assert client.get(f"/servers/{cast.server.pk}/").status_code == 200
    made = User.objects.get(username="new").history.earliest()
    assert (made.history_type, made.history_user) == ("+", cast.superuser)


def test_two_people_cannot_have_one_address(admin: Client) -> None:
    page = admin.post(f"{LIST}add/", new_person(email="READER@example.org")).content.decode()
    assert "Another person already has this e-mail address." in page
    assert not User.objects.filter(username="new").exists()


def test_a_weak_first_password_is_refused(admin: Client) -> None:
    page = admin.post(f"{LIST}add/", new_person(password1="12345678", password2="12345678")).content.decode()
    assert "This password is too common." in page


def test_no_history_of_a_person_holds_a_password(cast: Cast) -> None:
    fields = {field.name for field in User.history.model._meta.get_fields()}
    assert "password" not in fields
    assert cast.reader.history.exists()


def test_signing_in_is_no_change_and_a_new_password_is(cast: Cast, client: Client) -> None:
    before = cast.reader.history.count()
    client.post("/accounts/login/", {"login": "reader", "password": PASSWORD})
    assert cast.reader.history.count() == before
    cast.reader.set_password("another fine password")
    cast.reader.save(update_fields=["password"])
    assert cast.reader.history.latest().history_change_reason == "Password changed."
    cast.reader.first_name = "Rea"
    cast.reader.save(update_fields=["first_name"])
    assert cast.reader.history.latest().history_change_reason is None


def test_given_permissions_are_kept_in_the_history(cast: Cast, admin: Client) -> None:
    permission = Permission.objects.get(codename="view_server")
    form = {"username": "reader", "email": "reader@example.org", "is_active": "on", "is_staff": "on"}
    form |= {"user_permissions": [permission.pk]} | NO_MEMBERSHIPS
    assert admin.post(f"{LIST}{cast.reader.pk}/change/", form).status_code == 302
    assert cast.reader.history.latest().user_permissions.get().permission == permission


def test_staff_cannot_make_themselves_or_others_more_than_they_are(cast: Cast, clerk: Client) -> None:
    form = {"username": "reader", "email": "reader@example.org", "is_active": "on"} | NO_MEMBERSHIPS
    more = {"is_staff": "on", "is_superuser": "on", "user_permissions": [Permission.objects.first().pk]}
    assert clerk.post(f"{LIST}{cast.reader.pk}/change/", form | more).status_code == 302
    cast.reader.refresh_from_db()
    assert not (cast.reader.is_staff)
    assert not (cast.reader.is_superuser)
    assert not (cast.reader.user_permissions.exists())


def test_staff_cannot_touch_a_superuser(cast: Cast, clerk: Client) -> None:
    form = {"username": "taken-over", "email": "e@example.org"} | NO_MEMBERSHIPS
    assert clerk.post(f"{LIST}{cast.superuser.pk}/change/", form).status_code == 403
    password = {"password1": "taken over 1", "password2": "taken over 1", "usable_password": "true"}
    assert clerk.post(f"{LIST}{cast.superuser.pk}/password/", password).status_code == 403
    clerk.post(LIST, {"action": "switch_off", "_selected_action": [cast.superuser.pk]})
    cast.superuser.refresh_from_db()
    assert cast.superuser.is_active
    assert cast.superuser.check_password(PASSWORD)


def test_nobody_is_deleted_because_the_log_names_them(cast: Cast, admin: Client) -> None:
    assert admin.post(f"{LIST}{cast.reader.pk}/delete/", {"post": "yes"}).status_code == 403
    admin.post(LIST, {"action": "delete_selected", "_selected_action": [cast.reader.pk], "post": "yes"})
    assert User.objects.filter(pk=cast.reader.pk).exists()


def verified(user: User) -> list[tuple[str, bool, bool]]:
    return list(EmailAddress.objects.filter(user=user).values_list("email", "verified", "primary"))


def test_a_new_address_is_unverified_and_the_old_one_is_gone(cast: Cast, admin: Client) -> None:
    form = {"username": "reader", "email": "Reader@new.example.org", "is_active": "on"} | NO_MEMBERSHIPS
    assert admin.post(f"{LIST}{cast.reader.pk}/change/", form).status_code == 302
    assert verified(cast.reader) == [("reader@new.example.org", False, True)]
    page = admin.get(f"{LIST}{cast.reader.pk}/change/").content.decode()
    assert "the address is not verified" in page
    form["email"] = ""
    admin.post(f"{LIST}{cast.reader.pk}/change/", form)
    assert verified(cast.reader) == []


def test_another_change_leaves_a_verified_address_alone(cast: Cast, admin: Client) -> None:
    form = {"username": "reader", "email": "reader@example.org", "first_name": "Rea"} | NO_MEMBERSHIPS
    assert admin.post(f"{LIST}{cast.reader.pk}/change/", form).status_code == 302
    assert verified(cast.reader) == [("reader@example.org", True, True)]


def test_an_added_person_has_an_address_to_verify(admin: Client) -> None:
    admin.post(f"{LIST}add/", new_person())
    assert verified(User.objects.get(username="new")) == [("new@example.org", False, True)]


def confirm(browser: Client, *people: User) -> str:
    chosen = {"action": "confirm_address", "_selected_action": [person.pk for person in people]}
    return browser.post(LIST, chosen, follow=True).content.decode()


def test_an_admin_confirms_an_address(cast: Cast, admin: Client) -> None:
    EmailAddress.objects.filter(user=cast.reader).delete()
    assert "Done for 1 person." in confirm(admin, cast.reader)
    assert verified(cast.reader) == [("reader@example.org", True, True)]
    version = cast.reader.history.latest()
    assert (version.history_user, version.history_change_reason) == (
        cast.superuser,
        "E-mail address confirmed by an admin.",
    )
    assert LogEntry.objects.get().object_id == str(cast.reader.pk)
    assert "it is verified" in admin.get(f"{LIST}{cast.reader.pk}/change/").content.decode()


def test_nobodys_verified_address_is_confirmed_for_another(cast: Cast, admin: Client) -> None:
    nobody = person("nobody")
    EmailAddress.objects.filter(user=nobody).delete()
    User.objects.filter(pk=nobody.pk).update(email="reader@example.org")
    bare = person("bare")
    User.objects.filter(pk=bare.pk).update(email="")
    page = confirm(admin, nobody, bare)
    assert "No address, or one that another person has verified: bare, nobody." in page
    assert verified(cast.reader) == [("reader@example.org", True, True)]
    assert not EmailAddress.objects.filter(user=nobody, verified=True).exists()


def test_staff_cannot_confirm_a_superusers_address(cast: Cast, clerk: Client) -> None:
    EmailAddress.objects.filter(user=cast.superuser).update(verified=False)
    confirm(clerk, cast.superuser)
    assert not EmailAddress.objects.get(user=cast.superuser).verified


def test_an_address_that_refuses_mail_is_shown_beside_the_person(cast: Cast, admin: Client) -> None:
    Bounce.objects.create(address="Reader@example.org", at=timezone.now(), answer="550 mailbox <full>")
    assert "550 mailbox &lt;full&gt;" in admin.get(f"{LIST}{cast.reader.pk}/change/").content.decode()


def test_switching_people_off_ends_their_sessions_and_spares_oneself(cast: Cast, admin: Client) -> None:
    browser = Client()
    browser.post("/accounts/login/", {"login": "reader", "password": PASSWORD})
    page = admin.post(
        LIST, {"action": "switch_off", "_selected_action": [cast.reader.pk, cast.superuser.pk]}, follow=True
    )
    assert "Done for 1 person." in page.content.decode()
    assert browser.get("/").status_code == 302
    assert admin.get("/admin/").status_code == 200
    assert cast.reader.history.latest().history_change_reason == "Switched off from the list."


def test_a_lost_phone_is_no_lost_account(cast: Cast, admin: Client) -> None:
    TOTP.activate(cast.reader, generate_totp_secret())
    admin.post(LIST, {"action": "remove_second_factor", "_selected_action": [cast.reader.pk]})
    browser = Client()
    answer = browser.post("/accounts/login/", {"login": "reader", "password": PASSWORD})
    assert answer["Location"] == "/"
    assert LogEntry.objects.get().change_message == "Second factor removed."


def test_secrets_of_the_second_factor_are_nobodys_to_read(admin: Client) -> None:
    page = admin.get("/admin/").content.decode().lower()
    for word in ("authenticator", "emailaddress", "usersession", "/auth/group"):
        assert word not in page


def test_the_list_of_people_costs_the_same_for_many(
    cast: Cast, admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(50) as few:
        admin.get(reverse("admin:accounts_user_changelist"))
    for n in range(20):
        Membership.objects.create(user=person(f"person-{n}"), group=cast.group)
    with django_assert_max_num_queries(len(few.captured_queries)):
        admin.get(reverse("admin:accounts_user_changelist"))
