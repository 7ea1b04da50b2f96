"""Writers that know what they were promised: each remembers what was synced and what was written since, and can be asked whether what is
there after a crash, or in a cut, is something that may be there."""

import hashlib
import os
import threading

from filesystem.volume import PAGE


def digest(content):
    return hashlib.blake2b(content, digest_size=12).digest()


EMPTY = digest(bytes(PAGE))


class Writer(threading.Thread):
    """Works until the file system is gone or stop() is called."""

    def __init__(self, path, dice):
        super().__init__(daemon=True)
        self.path = path
        self.dice = dice
        self.stopping = threading.Event()
        self.steps = 0
        self.error = None

    def run(self):
        try:
            self.open()
            while not self.stopping.is_set():
                self.step()
                self.steps += 1
        except OSError as error:
            self.error = error  # the file system was killed, or is full: the caller knows which
        finally:
            self.close()

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), "a writer hangs"


class PageWriter(Writer):
    """Overwrites pages and parts of pages of one file, and syncs it now and then.

    possible[block] are the states that the page may have: the last synced one, and all after each write since."""

    def __init__(self, path, dice, blocks=64, fill=True):
        super().__init__(path, dice)
        self.blocks = blocks
        self.fd = -1
        self.now = [bytes(PAGE)] * blocks
        self.possible = [[EMPTY] for _ in range(blocks)]
        self.synced_size = self.size = 0
        self.fill = fill
        self.syncs = 0

    def open(self):
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if self.fill and self.size == 0:
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def close(self):
        if self.fd >= 0:
            try:
                os.close(self.fd)
            except OSError:
                pass
            self.fd = -1

    def step(self):
        what = self.dice.random()
        if what < 0.05:
            self.sync()
            return
        block = self.dice.randrange(self.blocks)
        if what < 0.75:
            offset, length = 0, PAGE
        else:
            offset = self.dice.randrange(PAGE)
            length = self.dice.randrange(1, PAGE - offset + 1)
        old = self.now[block]
        new = old[:offset] + self.dice.randbytes(16) * (length // 16) + self.dice.randbytes(length % 16) + old[offset + length :]
        end = block * PAGE + offset + length
        self.possible[block].append(digest(new))
        self.size = max(self.size, end)
        assert os.pwrite(self.fd, new[offset : offset + length], block * PAGE + offset) == length
        self.now[block] = new

    def sync(self):
        sizes = self.size
        (os.fsync if self.dice.random() < 0.5 else os.fdatasync)(self.fd)
        self.syncs += 1  # odd while the lists are begun anew
        for block in range(self.blocks):
            self.possible[block] = [digest(self.now[block])]
        self.synced_size = sizes
        self.syncs += 1

    def problems(self, path=None):
        """What is there and must not be. Takes what is there as the new state."""
        found = []
        with open(path or self.path, "rb") as file:
            content = file.read()
        if not self.synced_size <= len(content) <= max(self.size, self.synced_size):
            found.append(f"{self.path}: size {len(content)}, synced {self.synced_size}, written {self.size}")
        content = content.ljust(self.blocks * PAGE, b"\0")
        for block in range(self.blocks):
            page = content[block * PAGE : (block + 1) * PAGE]
            if digest(page) not in self.possible[block]:
                found.append(f"{self.path}: block {block} is none of the {len(self.possible[block])} states it may be in")
        return found

    def accept(self):
        """Goes on from what a crash left; it is durable, for a mount syncs."""
        with open(self.path, "rb") as file:
            content = file.read()
        self.size = self.synced_size = len(content)
        content = content.ljust(self.blocks * PAGE, b"\0")
        self.now = [content[b * PAGE : (b + 1) * PAGE] for b in range(self.blocks)]
        self.possible = [[digest(page)] for page in self.now]

    def successor(self, dice):
        other = PageWriter(self.path, dice, self.blocks)
        other.accept()
        return other


class ReplacingWriter(Writer):
    """Replaces a file as Postgres does: write another, sync it, rename it over, sync the folder."""

    def __init__(self, path, dice, durable=0):
        super().__init__(path, dice)
        self.attempted = self.durable = durable
        self.folder = -1

    def open(self):
        self.folder = os.open(os.path.dirname(self.path), os.O_RDONLY)

    def close(self):
        if self.folder >= 0:
            try:
                os.close(self.folder)
            except OSError:
                pass

    def step(self):
        number = self.attempted + 1
        with open(f"{self.path}.new", "wb") as file:
            file.write(b"%d\n" % number * 3000)
            file.flush()
            os.fsync(file.fileno())
        self.attempted = number
        os.rename(f"{self.path}.new", self.path)
        os.fsync(self.folder)
        self.durable = number

    def problems(self, path=None):
        path = path or self.path
        if not os.path.exists(path):
            return [] if self.durable == 0 else [f"{path} is gone"]
        with open(path, "rb") as file:
            numbers = set(file.read().split())
        if len(numbers) != 1 or not self.durable <= int(min(numbers)) <= self.attempted:
            return [f"{path} has {sorted(numbers)[:3]}, durable {self.durable}, attempted {self.attempted}"]
        return []

    def successor(self, dice):
        number = 0
        if os.path.exists(self.path):
            with open(self.path, "rb") as file:
                number = int(file.readline())
        return ReplacingWriter(self.path, dice, number)


class CreatingWriter(Writer):
    """Makes, removes and moves files between two folders; a folder's sync makes durable what was done in it."""

    def __init__(self, path, dice, known=None):
        super().__init__(path, dice)
        self.made = dict(known or {})  # name -> what it must be: True there, False not there, None either
        self.since = set()
        self.count = 0

    def open(self):
        for folder in ("a", "b"):
            os.makedirs(os.path.join(self.path, folder), exist_ok=True)
        self.sync()

    def close(self):
        pass

    def sync(self):
        for folder in (self.path, os.path.join(self.path, "a"), os.path.join(self.path, "b")):
            fd = os.open(folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    def step(self):
        what = self.dice.random()
        there = [name for name, state in self.made.items() if state]
        if what < 0.1:
            state = dict(self.made)
            self.sync()
            self.settled = state
        elif what < 0.5 or not there:
            name = f"a/{self.dice.randrange(1 << 40):x}"
            self.doubt(name)
            os.close(os.open(os.path.join(self.path, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self.made[name] = True
        elif what < 0.75:
            name = self.dice.choice(there)
            self.doubt(name)
            os.unlink(os.path.join(self.path, name))
            self.made[name] = False
        else:
            old = self.dice.choice(there)
            new = f"{self.dice.choice('ab')}/{self.dice.randrange(1 << 40):x}"
            self.doubt(old)
            self.doubt(new)
            os.rename(os.path.join(self.path, old), os.path.join(self.path, new))
            self.made[old], self.made[new] = False, True

    settled = {}

    def doubt(self, name):
        """From now until the next sync it may be there or not."""
        self.settled.pop(name, None)

    def problems(self, path=None):
        return [
            f"{self.path}/{name}: {'gone' if state else 'back again'}"
            for name, state in self.settled.items()
            if os.path.lexists(os.path.join(path or self.path, name)) != state
        ]

    def successor(self, dice):
        known = {
            f"{folder}/{name}": True
            for folder in ("a", "b")
            for name in (os.listdir(os.path.join(self.path, folder)) if os.path.isdir(os.path.join(self.path, folder)) else [])
        }
        return CreatingWriter(self.path, dice, known)
