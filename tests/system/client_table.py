"""docs/clients.md says what the stories show, of every method that a client has."""

import pytest

from clients import table


@pytest.fixture(scope="module")
def rows():
    return list(table.rows())


def test_every_method_of_every_client_has_a_story(rows):
    untested = [f"{method}: {states}" for method, states, _ in rows if "untested" in states]
    assert not untested, "\n".join(untested)
    assert {method for method, _, _ in rows} >= table.NOT_YET


def test_the_page_is_up_to_date(rows):
    assert table.PAGE.read_text() == table.page_with(table.table()), "in tests/: python -m clients.table --write"
