"""A program at a terminal of its own: what is typed, and what is seen."""

import os
import pty
import re
import select

from harness.waiting import NotInTime, wait_until


class Terminal:
    def __init__(self, argv, environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], [str(word) for word in argv], environment)
        self.seen = ""
        self._status = None

    def read(self):
        while select.select([self.fd], [], [], 0.02)[0]:
            try:
                more = os.read(self.fd, 65536)
            except OSError:  # the program has ended
                return
            if not more:
                return
            self.seen += more.decode(errors="replace")

    def wait_for(self, pattern, since=0, timeout=60):
        """Until the pattern is on the screen, behind the character `since`."""

        def is_there():
            self.read()
            return re.search(pattern, self.seen[since:])

        try:
            return wait_until(is_there, repr(pattern), timeout)
        except NotInTime:
            raise NotInTime(f"no {pattern!r}; on the screen: {self.seen[-800:]!r}") from None

    def type(self, keys, until):
        """Types, and waits until the pattern is on the screen behind what was there."""
        since = len(self.seen)
        os.write(self.fd, keys.encode())
        self.wait_for(until, since)

    def wait(self, timeout=60):
        """Its end: the exit code, or minus the signal."""

        def has_ended():
            self.read()
            if self._status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self._status = status if pid else None
            return self._status is not None

        wait_until(has_ended, "the program at the terminal ended", timeout)
        self.read()
        return os.waitstatus_to_exitcode(self._status)

    def close(self):
        if self._status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
            self._status = 9
        os.close(self.fd)
