"""`stand_in.py FOLDER UID`: stands in for control (FOLDER/control.sock) and for the Postgres of its only endpoint (FOLDER/.s.PGSQL.5432), for ten
thousand connections at once. The server greets as Postgres does, answers every query with one word, and knows nothing.
"""

import asyncio
import json
import os
import struct
import sys


def message(kind, body):
    return kind + struct.pack("!I", len(body) + 4) + body


READY = message(b"Z", b"I")
PARAMETERS = {
    "server_version": "17.0", "server_encoding": "UTF8", "client_encoding": "UTF8", "application_name": "", "in_hot_standby": "off",
    "is_superuser": "off", "session_authorization": "admin@localhost", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "TimeZone": "UTC",
    "integer_datetimes": "on", "standard_conforming_strings": "on", "default_transaction_read_only": "off", "search_path": '"$user", public',
}  # fmt: skip
GREETING = message(b"R", b"\0\0\0\0") + b"".join(
    message(b"S", name.encode() + b"\0" + value.encode() + b"\0") for name, value in PARAMETERS.items()
)


class Server(asyncio.Protocol):
    count = 0

    def connection_made(self, transport):
        self.transport, self.unread, self.is_started = transport, b"", False
        Server.count += 1
        self.key = message(b"K", struct.pack("!II", Server.count, Server.count * 2654435761 % (1 << 32)))

    def data_received(self, data):
        self.unread += data
        while True:
            head = 1 if self.is_started else 0
            if len(self.unread) < head + 4:
                return
            length = head + struct.unpack("!I", self.unread[head : head + 4])[0]
            if len(self.unread) < length:
                return
            kind, self.unread = self.unread[:head], self.unread[length:]
            if not self.is_started:
                self.is_started = True
                self.transport.write(GREETING + self.key + READY)
            elif kind == b"X":
                self.transport.close()
                return
            else:
                self.transport.write(message(b"C", b"SELECT 0\0") + READY)


class Control(asyncio.Protocol):
    folder = uid = None

    def connection_made(self, transport):
        self.transport, self.unread = transport, b""

    def data_received(self, data):
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            question = json.loads(line)
            answer = {"id": question["id"]}
            if question["op"] == "open":
                answer |= {"socket_dir": self.folder, "waited": False}
            else:
                name = "projects/stand-in/branches/production/endpoints/primary"
                answer["endpoint"] = {"uid": self.uid, "name": name, "host": "127.0.0.1", "address": "127.0.0.1", "disabled": False}
            self.transport.write(json.dumps(answer).encode() + b"\n")


async def main():
    Control.folder, Control.uid = sys.argv[1:]
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(Server, os.path.join(Control.folder, ".s.PGSQL.5432"), backlog=4096)
    await loop.create_unix_server(Control, os.path.join(Control.folder, "control.sock"))
    with open(os.path.join(Control.folder, "ready"), "w", encoding="ascii"):
        pass
    await asyncio.Event().wait()


asyncio.run(main())
