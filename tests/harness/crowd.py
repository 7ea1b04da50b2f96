"""Many clients at one moment, in one process: they all stand at the door, asked for their passwords, and all answer at once."""

import asyncio
import resource
import ssl
import struct

from harness import wire

AT_ONCE = 100  # handshakes that are begun at the same time, so that the kernel's queue is not what is tested


def allow_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard) if hard != resource.RLIM_INFINITY else count, hard))


class Person:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.error = self.pid = None

    async def message(self):
        head = await self.reader.readexactly(5)
        return head[:1], await self.reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)

    async def until_ready(self):
        """The bodies of the data rows; an error is kept, and ends it when it is the last word."""
        rows = []
        while True:
            kind, body = await self.message()
            if kind == b"E":
                self.error = wire.fields(body)
                if self.error["S"] == "FATAL":
                    return rows
            elif kind == b"D":
                rows.append(body)
            elif kind == b"Z":
                return rows

    async def go_in(self, password, everybody_is_in):
        try:
            self.writer.write(wire.message(b"p", password.encode() + b"\0"))
            await self.until_ready()
            if not self.error:
                self.writer.write(wire.query("select pg_backend_pid()"))
                (row,) = await self.until_ready()
                self.pid = int(row[6:])
        except (OSError, asyncio.IncompleteReadError) as error:
            self.error = {"S": "", "C": "", "M": f"{type(error).__name__}: {error}"}
        await everybody_is_in()
        self.writer.close()


async def _come(count, platform, host, password, user, patience):
    context = ssl.create_default_context(cafile=platform.ca)
    context.set_alpn_protocols(["postgresql"])
    door = asyncio.Semaphore(AT_ONCE)

    async def arrive():
        async with door:
            reader, writer = await asyncio.open_connection(host, platform.pg_port, ssl=context)
            person = Person(reader, writer)
            writer.write(wire.startup_packet(user=user, database="databricks_postgres"))
            assert await person.message() == (b"R", struct.pack("!I", 3))
            return person

    people = await asyncio.gather(*(arrive() for _ in range(count)))
    inside, all_in = 0, asyncio.Event()

    async def everybody_is_in():
        """Who is in stays until all are, or have been refused: so many sessions there are at one time."""
        nonlocal inside
        inside += 1
        if inside == count:
            all_in.set()
        await all_in.wait()

    await asyncio.wait_for(asyncio.gather(*(person.go_in(password, everybody_is_in) for person in people)), patience)
    return people


def come(count, platform, endpoint, user="admin@localhost", patience=240):
    """So many people with a good token; each with the pid of its backend, or the error it was told."""
    allow_descriptors(count + 500)
    password = platform.rest.database_token(endpoint["name"])
    host = endpoint["status"]["hosts"]["host"]
    return asyncio.run(_come(count, platform, host, password, user, patience))
