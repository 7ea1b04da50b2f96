"""An OpenID Connect issuer on this machine: it publishes its document and its keys, and gives out tokens. It can change its keys, lie and be down."""

import base64
import datetime
import ipaddress
import json
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# databricks-sdk brings it along (through google-auth).
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.x509.oid import NameOID


def encode(data):
    if isinstance(data, int):
        data = data.to_bytes((data.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class SigningKey:
    def __init__(self, algorithm="RS256", kid="key-1"):
        self.algorithm, self.kid = algorithm, kid
        make = {"RS256": lambda: rsa.generate_private_key(65537, 2048), "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
                "EdDSA": ed25519.Ed25519PrivateKey.generate}  # fmt: skip
        self.private = make["RS256" if algorithm == "PS256" else algorithm]()

    def public(self):
        """As a JSON Web Key."""
        public = self.private.public_key()
        if self.algorithm == "ES256":
            numbers = public.public_numbers()
            key = {"kty": "EC", "crv": "P-256", "x": encode(numbers.x.to_bytes(32, "big")), "y": encode(numbers.y.to_bytes(32, "big"))}
        elif self.algorithm == "EdDSA":
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            key = {"kty": "OKP", "crv": "Ed25519", "x": encode(raw)}
        else:
            numbers = public.public_numbers()
            key = {"kty": "RSA", "n": encode(numbers.n), "e": encode(numbers.e)}
        return {**key, "use": "sig", "alg": self.algorithm, "kid": self.kid}

    def sign(self, data):
        if self.algorithm == "RS256":
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if self.algorithm == "PS256":
            return self.private.sign(data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        if self.algorithm == "EdDSA":
            return self.private.sign(data)
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def token(self, claims, **header):
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **header}
        text = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
        return f"{text}.{encode(self.sign(text.encode()))}"


class Issuer:
    def __init__(self, folder=None):
        """With a folder it speaks TLS, and `authority` there is the file to trust."""
        self.keys = [SigningKey()]
        self.asked = []  # paths, in the order they came
        self.document_changes = {}
        self.silent = threading.Event()  # set: it accepts connections and says nothing
        self._server = None
        self._tls = folder and self._make_certificate(folder)
        self.start(0)
        self.url = f"http{'s' if folder else ''}://{'localhost' if folder else '127.0.0.1'}:{self.port}"

    def _make_certificate(self, folder):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer of a test")])
        now = datetime.datetime.now(datetime.timezone.utc)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1)).add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
        )  # fmt: skip
        self.authority = folder / "issuer.crt"
        self.authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret = folder / "issuer.key"
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                             serialization.NoEncryption()))  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, secret)
        return context

    # -- the server -----------------------------------------------------------------------------------------------

    def answer(self, path):
        """(status, value) of a GET."""
        parts = urllib.parse.urlsplit(path)
        if parts.path == "/.well-known/openid-configuration":
            return 200, {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.document_changes}
        if parts.path == "/keys":
            return 200, {"keys": [key.public() for key in self.keys]}
        if parts.path == "/workload":  # as GitHub gives its jobs tokens: for the audience that they want
            query = dict(urllib.parse.parse_qsl(parts.query))
            return 200, {"value": self.token(query["subject"], query["audience"])}
        return 404, {}

    def start(self, port=None):
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                if issuer.silent.is_set():
                    while issuer.silent.is_set():
                        time.sleep(0.05)
                    return
                status, value = issuer.answer(self.path)
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # who asks may go away

        self._server = Server(("127.0.0.1", self.port if port is None else port), Handler)
        if self._tls:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        """Nobody listens any more; start() goes on at the same address."""
        self.silent.clear()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # -- tokens ---------------------------------------------------------------------------------------------------

    def token(self, subject, audience, life=300, key=None, **claims):
        now = int(time.time())
        return (key or self.keys[-1]).token(
            {"iss": self.url, "sub": subject, "aud": audience, "iat": now, "nbf": now, "exp": now + life, **claims})
