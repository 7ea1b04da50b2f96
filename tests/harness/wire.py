"""The Postgres protocol by hand: what no driver would send, and exactly what came back."""

import socket
import ssl
import struct

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSS_REQUEST = struct.pack("!II", 8, 80877104)
CANCEL_CODE = 80877102
VERSION_3_0 = 3 << 16


def startup_packet(version=VERSION_3_0, **parameters):
    body = struct.pack("!I", version)
    body += b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def query(text):
    return message(b"Q", text.encode() + b"\0")


def cancel_request(pid, secret):
    return struct.pack("!III", 12 + len(secret), CANCEL_CODE, pid) + secret


def messages(data):
    """(kind, body) of each message in these bytes."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("!I", data, at + 1)
        yield data[at : at + 1], data[at + 5 : at + 1 + length]
        at += 1 + length


def fields(body):
    """Of an ErrorResponse: {'S': 'FATAL', 'C': sqlstate, 'M': …, 'H': …}."""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


class RawClient:
    """Bytes to the proxy's port: in clear, in TLS after an SSLRequest, or in TLS from the first byte; reads Postgres messages."""

    def __init__(self, platform, host, tls=True, direct=False, alpn=None, address=None):
        self.sock = socket.create_connection((address or host, platform.pg_port), timeout=20)
        self.key = None
        if not tls:
            return
        if not direct:
            self.sock.sendall(SSL_REQUEST)
            assert self.sock.recv(1) == b"S"
        context = ssl.create_default_context(cafile=platform.ca)
        if alpn:
            context.set_alpn_protocols(alpn)
        self.sock = context.wrap_socket(self.sock, server_hostname=host)

    @classmethod
    def session(cls, platform, endpoint, password=None, **startup):
        """Logged in and ready for a query."""
        client = cls(platform, endpoint["status"]["hosts"]["host"])
        client.log_in(password or platform.rest.database_token(endpoint["name"]), **startup)
        return client

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def startup(self, version=VERSION_3_0, **parameters):
        self.sock.sendall(startup_packet(version, **parameters))

    def password(self, text):
        self.sock.sendall(message(b"p", text.encode() + b"\0"))

    def log_in(self, password, **startup):
        self.startup(**{"user": "admin@localhost", "database": "databricks_postgres", **startup})
        kind, body = self.message()
        assert (kind, body) == (b"R", struct.pack("!I", 3)), (kind, body)
        self.password(password)
        self.until_ready()

    def until_ready(self):
        """All messages up to ReadyForQuery. A cancel key among them is kept; an ErrorResponse without a ReadyForQuery is raised."""
        seen = []
        while True:
            try:
                kind, body = self.message()
            except ConnectionError:
                errors = [fields(b) for k, b in seen if k == b"E"]
                raise ConnectionError(f"closed after {errors}") from None
            seen.append((kind, body))
            if kind == b"K":
                self.key = struct.unpack("!I", body[:4])[0], body[4:]
            if kind == b"Z":
                return seen

    def query(self, text):
        self.sock.sendall(query(text))
        return self.until_ready()

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise ConnectionError("closed")
            data += more
        return bytes(data)

    def message(self):
        kind = self.exactly(1)
        (length,) = struct.unpack("!I", self.exactly(4))
        return kind, self.exactly(length - 4)

    def error_fields(self):
        """Reads on to an ErrorResponse."""
        while True:
            kind, body = self.message()
            if kind == b"E":
                return fields(body)

    def rest_is_closed(self):
        try:
            return self.sock.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True
