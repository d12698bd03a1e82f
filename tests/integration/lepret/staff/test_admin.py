"""Where administrators work: they come to the admin, and give people roles there."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from lepret.staff.roles import BACK_OFFICE, LEADS, POLICY_MAKERS, UNDERWRITERS
from tests.support.staff import make_clerk

pytestmark = [
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

ADD = "/admin/auth/user/add/"
PASSWORD = "river orbit kettle"


@pytest.fixture(autouse=True)
def administrator(client: Client) -> User:
    user = User.objects.create_superuser("root")
    client.force_login(user)
    return user


def add(client: Client, *roles: str) -> User:
    form = {
        "username": "nora",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
        "groups": [str(Group.objects.get(name=role).pk) for role in roles],
    }
    answer = client.post(ADD, form)
    user = User.objects.get(username="nora")
    assert answer["Location"] == f"/admin/auth/user/{user.pk}/change/"
    return user


def test_administrators_come_to_the_admin(client: Client) -> None:
    assert client.get("/accounts/home/")["Location"] == "/admin/"


def test_the_form_for_a_new_member_of_staff_begins_with_the_roles(client: Client) -> None:
    html = client.get(ADD).content.decode()
    fields = re.findall(r'<(?:input|select|textarea)[^>]* name="([a-z]\w+)"', html)
    assert fields == [
        "csrfmiddlewaretoken", "csrfmiddlewaretoken", "groups", "groups", "groups", "groups",
        "username",
        "usable_password", "usable_password", "password1", "password2",
    ]  # fmt: skip
    explained = [
        f"{UNDERWRITERS}: decide",
        f"{POLICY_MAKERS}: propose",
        f"{LEADS}: as underwriters,",
        f"{BACK_OFFICE}: look",
    ]
    assert sorted(explained, key=html.index) == explained


@pytest.mark.parametrize(
    "roles",
    [
        (),
        (UNDERWRITERS,),
        (BACK_OFFICE,),
        (POLICY_MAKERS,),
        (UNDERWRITERS, BACK_OFFICE),
        (UNDERWRITERS, LEADS),
    ],
)
def test_roles_are_given_with_the_account_and_those_with_pages_here_may_log_in(
    client: Client, roles: tuple[str, ...]
) -> None:
    user = add(client, *roles)
    assert {group.name for group in user.groups.all()} == set(roles)
    assert user.is_staff == (not {BACK_OFFICE, POLICY_MAKERS}.isdisjoint(roles))


def test_roles_are_taken_away_and_a_superuser_is_made(client: Client) -> None:
    user = add(client, BACK_OFFICE)
    page = f"/admin/auth/user/{user.pk}/change/"
    client.post(page, {"username": "nora", "is_active": "on"})
    user.refresh_from_db()
    assert (user.groups.count(), user.is_staff) == (0, False)
    client.post(page, {"username": "nora", "is_active": "on", "is_superuser": "on"})
    user.refresh_from_db()
    assert (user.is_superuser, user.is_staff) == (True, True)


def test_permissions_are_not_offered_and_do_nothing(client: Client, administrator: User) -> None:
    html = client.get(f"/admin/auth/user/{administrator.pk}/change/").content.decode()
    assert "permission" not in html.lower().replace("permissions without explicitly", "")
    assert client.get("/admin/auth/group/").status_code == 404
    clerk = make_clerk()
    clerk.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))
    client.force_login(clerk)
    for path in ("/admin/auth/user/", ADD, f"/admin/auth/user/{administrator.pk}/change/"):
        assert client.get(path).status_code == 403
