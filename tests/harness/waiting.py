"""Waiting for events: a condition that is asked again until it holds, with a deadline and a name for the failure."""

import time

import psycopg


class NotInTime(AssertionError):
    pass


def wait_until(condition, what, timeout=30.0, pause=0.02):
    """Returns the first true value of condition(); a failed check or connection inside counts as "not yet"."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (AssertionError, OSError, ValueError, psycopg.OperationalError) as error:
            last = error
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {timeout:g} s: {what} (last seen: {last!r})")
        time.sleep(pause)
