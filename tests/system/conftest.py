"""Fixtures of the system tests, and the logs of every running Tarn in the report of a test that failed."""

import uuid

import pytest

from harness.platform import BINARY, NO_LIMITS, Platform

# A second instead of the documented minute: tests wait for the event of falling asleep, and not for long.
# Stories try bad tokens by the hundred, from one address.
SETTINGS = {"suspend_timeout_min_sec": 1, "failures_per_min": 100000, **NO_LIMITS}


def pytest_configure(config):
    if not BINARY.exists():
        raise pytest.UsageError(f"there is no {BINARY}: build it, or name another one in TARN_BINARY")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for platform in list(Platform.running):
            report.sections.append((f"logs of {platform.directory}", platform.log_tails()))
    return report


@pytest.fixture(scope="session")
def platform():
    """One Tarn for the stories that live side by side, each in a project of its own."""
    with Platform(settings=SETTINGS) as running:
        yield running


@pytest.fixture
def rest(platform):
    return platform.rest


def _name(prefix="t"):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def new_name():
    return _name


@pytest.fixture
def project(platform):
    """A project of this test's own: its id."""
    name = _name("p")
    platform.rest.create_project(name)
    yield name
    platform.rest.delete_project(name)


@pytest.fixture(scope="module")
def shared_project(platform):
    """A project for the tests of one file that do not disturb each other."""
    name = _name("shared")
    platform.rest.create_project(name)
    yield name
    platform.rest.delete_project(name)


@pytest.fixture
def primary(platform, project):
    return platform.rest.endpoint(project)


@pytest.fixture(scope="module")
def shared_primary(platform, shared_project):
    return platform.rest.endpoint(shared_project)


@pytest.fixture
def own_platform():
    """For stories that stop, break or fill a Tarn: call it with Platform's arguments."""
    started = []

    def start(**arguments):
        arguments.setdefault("settings", SETTINGS)
        one = Platform(**arguments)
        started.append(one)  # also one that does not start is closed
        return one.start()

    yield start
    failures = []
    for one in started:
        try:
            one.close()
        except AssertionError as error:
            failures.append(error)
    assert not failures, "\n".join(map(str, failures))
