"""Exact shapes: a JSON value is compared with a picture of it, in which some places hold a rule in place of a value.

Every key of the picture must be there and no other; a key wrapped in maybe() may be absent.
"""

import re


class Rule:
    def __init__(self, name, test):
        self.name, self.test = name, test

    def __eq__(self, other):
        return bool(self.test(other))

    def __repr__(self):
        return f"<{self.name}>"


class maybe(str):
    """A key that may be absent."""


def text(pattern, name=None):
    return Rule(name or f"text like {pattern}", lambda v: isinstance(v, str) and re.fullmatch(pattern, v))


TIMESTAMP = text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}(\d{3}(\d{3})?)?)?Z", "timestamp")
DURATION = text(r"\d+(\.\d{3}(\d{3}(\d{3})?)?)?s", "duration")
UUID = text(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "uuid")
BRANCH_UID = text(r"br-[a-z0-9]+-[a-z0-9]+-[a-z0-9]+", "branch uid")
ENDPOINT_UID = text(r"ep-[a-z0-9]+-[a-z0-9]+-[a-z0-9]+", "endpoint uid")
LSN = text(r"[0-9A-F]+/[0-9A-F]+", "lsn")
JWT = text(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", "json web token")
COUNT = Rule("whole number >= 0", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0)
NUMBER = Rule("number", lambda v: isinstance(v, (int, float)) and not isinstance(v, bool))


def differences(actual, picture, where="$"):
    if isinstance(picture, dict):
        if not isinstance(actual, dict):
            return [f"{where}: {actual!r} is not an object"]
        found = []
        for key, part in picture.items():
            if key in actual:
                found += differences(actual[key], part, f"{where}.{key}")
            elif not isinstance(key, maybe):
                found.append(f"{where}.{key}: missing")
        found += [f"{where}.{key}: unexpected, {actual[key]!r}" for key in actual if key not in picture]
        return found
    if isinstance(picture, list):
        if not isinstance(actual, list) or len(actual) != len(picture):
            return [f"{where}: {actual!r} is not a list of {len(picture)}"]
        return [d for i, part in enumerate(picture) for d in differences(actual[i], part, f"{where}[{i}]")]
    if isinstance(picture, Rule):
        return [] if picture == actual else [f"{where}: {actual!r} is no {picture!r}"]
    if type(actual) is not type(picture) and not (NUMBER == actual and NUMBER == picture):
        return [f"{where}: {actual!r} where {picture!r} should be"]
    return [] if actual == picture else [f"{where}: {actual!r} where {picture!r} should be"]


def assert_shape(actual, picture):
    found = differences(actual, picture)
    assert not found, "\n".join(found)
