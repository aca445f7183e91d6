from __future__ import annotations

import pytest

from monitoring.models import Series, Server, ServerGroup
from portal.accounts.models import User
from tests.alerts.makers import make_person, make_rota, make_series, make_server


@pytest.fixture
def group(db: None) -> ServerGroup:
    return ServerGroup.objects.create(name="Machines")


@pytest.fixture
def web(group: ServerGroup) -> Server:
    return make_server("web-1", group)


@pytest.fixture
def cpu(web: Server) -> Series:
    return make_series(web, "cpu")


@pytest.fixture
def memory(web: Server) -> Series:
    return make_series(web, "memory")


@pytest.fixture
def ann(group: ServerGroup) -> User:
    """On call for the group, with Ben."""
    return make_person("ann", group)


@pytest.fixture
def ben(group: ServerGroup, ann: User) -> User:
    person = make_person("ben", group)
    make_rota(group, ann, person)
    return person
