"""A PgBouncer for a benchmark: in front of a compute's Unix socket, with TLS by the same authority as Tarn's and SCRAM."""

import os
import pwd
import shutil
import subprocess
import sys
import time

from tarn_bench import free_port


def issue_leaf(data, folder):
    """(certificate, key) of a server on 127.0.0.1, P-256, signed by the authority of a data directory: what a client has to check is then the same."""
    key, request, certificate, extensions = (os.path.join(folder, name) for name in ("key.pem", "request.pem", "certificate.pem", "extensions"))
    with open(extensions, "w", encoding="ascii") as file:
        file.write("subjectAltName=IP:127.0.0.1\n")
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=127.0.0.1",
                    "-keyout", key, "-out", request], check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", os.path.join(data, "authority.crt"), "-CAkey", os.path.join(data, "authority.key"),
                    "-CAserial", os.path.join(folder, "serial"), "-CAcreateserial", "-days", "2", "-sha256", "-extfile", extensions,
                    "-out", certificate], check=True, capture_output=True)
    return certificate, key


class PgBouncer:
    """`with PgBouncer(…)`: one process with a database "session" and a database "transaction", which are the compute's; with TLS for who asks for it."""

    def __init__(self, data, folder, socket_folder, superuser, verifier):
        """`verifier` is the SCRAM verifier of cloud_admin's password; None lets everybody in."""
        self.data, self.folder, self.socket_folder, self.superuser, self.verifier = data, folder, socket_folder, superuser, verifier
        self.port = free_port()

    def route(self, database, password=None):
        """Environment for pgbench and psql."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "cloud_admin", "PGDATABASE": database, "PGSSLMODE": "disable",
                **({"PGPASSWORD": password} if password else {})}

    def __enter__(self):
        program = shutil.which("pgbouncer") or sys.exit("pgbouncer is missing: run tools/setup")
        os.mkdir(self.folder, 0o755)
        certificate, key = issue_leaf(self.data, self.folder)
        settings, users = os.path.join(self.folder, "settings"), os.path.join(self.folder, "users")
        database = f"host={self.socket_folder} port=5432 dbname=databricks_postgres user=cloud_admin"
        with open(users, "w", encoding="utf-8") as file:
            file.write(f'"cloud_admin" "{self.verifier}"\n')
        with open(settings, "w", encoding="utf-8") as file:
            file.write(f"""[databases]
session = {database} pool_mode=session pool_size=100
transaction = {database} pool_mode=transaction pool_size=20
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = {"scram-sha-256" if self.verifier else "any"}
auth_file = {users}
ignore_startup_parameters = extra_float_digits
max_client_conn = 20000
server_idle_timeout = 15
server_login_retry = 1
client_tls_sslmode = allow
client_tls_key_file = {key}
client_tls_cert_file = {certificate}
log_connections = 0
log_disconnections = 0
""")
        command = [program, "-q", settings]
        if os.getuid() == 0:
            # It refuses to run as root; the owner of the socket's folder is the one user who may enter it.
            owner = os.stat(self.socket_folder).st_uid
            for path in (self.folder, key, users):
                os.chown(path, owner, -1)
            user = pwd.getpwuid(owner).pw_name
            command[1:1] = ["-u", user]
            ident = os.path.join(self.socket_folder, "..", "ident.conf")
            with open(ident, encoding="utf-8") as file:
                is_known = f"tarn {user} all" in file.read()
            if not is_known:
                with open(ident, "a", encoding="utf-8") as file:
                    file.write(f"tarn {user} all\n")  # Tarn lets in nobody but the user it runs as
                subprocess.run(["psql", "-XAtqc", "select pg_reload_conf()"], env={**os.environ, **self.superuser}, capture_output=True, check=True)
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    @property
    def pid(self):
        return self.process.pid

    def wait(self, route):
        deadline = time.monotonic() + 10
        while (done := subprocess.run(["psql", "-XAtqc", "select 1"], env={**os.environ, **route}, capture_output=True, text=True,
                                      check=False)).returncode != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                    sys.exit(f"PgBouncer does not answer: {done.stderr}\n{log.read()[-2000:]}")
            time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
