"""What each branch must have: kept beside Tarn, from what clients were told and nothing else.

Every transaction has a number that is used once in a run, and writes it into the table `journal` of its branch. The model knows of each number on
which branch it was begun, whether its commit was acknowledged, and bounds of where in WAL and when it committed.

A content is two sets: numbers that must be there, and numbers that may (a commit of unknown outcome, or one that happened while a
branch was made). What is in neither must not be there.
"""

import threading
import time

# A client that lost its connection does not know whether its COMMIT is still on its way in the server. After this long it is not.
SETTLE_SECONDS = 20


class Commit:
    __slots__ = ("number", "lsn_from", "lsn_to", "time_from", "time_to", "acknowledged", "failed_at")

    def __init__(self, number):
        self.number = number
        self.lsn_from = self.lsn_to = None  # the commit record begins at or behind, and ends at or before
        self.time_from = self.time_to = None  # and so does its timestamp
        self.acknowledged = False
        self.failed_at = None


class Content:
    """An immutable pair of sets."""

    def __init__(self, must=(), may=()):
        self.must = frozenset(must)
        self.may = frozenset(may) - self.must

    def difference(self, actual):
        """What is wrong with these numbers; None when nothing is."""
        lost = self.must - actual
        alien = actual - self.must - self.may
        if not lost and not alien:
            return None
        parts = []
        if lost:
            parts.append(f"{len(lost)} that must be there are lost, such as {sorted(lost)[:5]}")
        if alien:
            parts.append(f"{len(alien)} that cannot be there are, such as {sorted(alien)[:5]}")
        return "; ".join(parts)


class Branch:
    """One branch as far as clients know it. All members that writers touch are below `lock`."""

    def __init__(self, name, parent, content, lsn=None):
        self.name, self.parent = name, parent
        self.lock = threading.Lock()
        self.begin_life(content, lsn)
        self.children_made = 0
        self.writers = []

    def begin_life(self, content, lsn=None):
        """Also after a reset or a restore in place: nothing that was written before counts any more."""
        with self.lock:
            self.inherited_must = set(content.must)
            self.inherited_may = set(content.may)
            self.own = {}  # number -> Commit
            self.first_lsn = lsn  # of its own WAL; None until it is asked
            self.born = time.time()

    # -- writers ------------------------------------------------------------------------------------------------------

    def begin(self, number):
        commit = Commit(number)
        with self.lock:
            self.own[number] = commit
        return commit

    def acknowledge(self, commit):
        with self.lock:
            commit.acknowledged = True

    def fail(self, commit):
        with self.lock:
            commit.failed_at = time.time()
            if commit.lsn_from is None:
                self.own.pop(commit.number, None)  # its COMMIT was never sent

    # -- contents -----------------------------------------------------------------------------------------------------

    def now(self):
        """What must be there from now on, and what may be."""
        with self.lock:
            must = self.inherited_must | {c.number for c in self.own.values() if c.acknowledged}
            return Content(must, self.inherited_may | set(self.own))

    def between(self, before, after):
        """At some moment between two calls of now()."""
        return Content(before.must, after.must | after.may)

    def at_lsn(self, lsn):
        with self.lock:
            must, may = set(self.inherited_must), set(self.inherited_may)
            for c in self.own.values():
                if c.acknowledged and c.lsn_to is not None and c.lsn_to <= lsn:
                    must.add(c.number)
                elif c.lsn_from is None or c.lsn_from < lsn:
                    may.add(c.number)
        return Content(must, may)

    def at_time(self, moment):
        with self.lock:
            must, may = set(self.inherited_must), set(self.inherited_may)
            for c in self.own.values():
                if c.acknowledged and c.time_to is not None and c.time_to < moment:
                    must.add(c.number)
                elif c.time_from is None or c.time_from <= moment:
                    may.add(c.number)
        return Content(must, may)

    def observe(self, actual, asked_at):
        """These numbers were seen: from now on they stay, and what settled without being seen never comes."""
        with self.lock:
            gone = {n for n in self.inherited_may if n not in actual}
            self.inherited_may.clear()  # a branch's inheritance was complete before anybody could ask
            self.inherited_must |= {n for n in actual if n not in self.own}
            for number, commit in list(self.own.items()):
                if number in actual:
                    commit.acknowledged = True
                elif commit.failed_at is not None and commit.failed_at < asked_at - SETTLE_SECONDS:
                    del self.own[number]
        return gone

    def moments(self):
        """Commits with known bounds, in order: for choosing points in the past."""
        with self.lock:
            known = [c for c in self.own.values() if c.acknowledged and c.lsn_to is not None and c.time_to is not None]
        return sorted(known, key=lambda c: c.lsn_to)


class Snapshot:
    def __init__(self, name, content):
        self.name, self.content = name, content
        self.exact = None  # what the first branch made of it had: every later one must have the same


def lsn_number(text):
    high, low = text.split("/")
    return (int(high, 16) << 32) | int(low, 16)


def lsn_text(number):
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
