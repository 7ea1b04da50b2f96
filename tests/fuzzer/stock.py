"""Stock Postgres restored to an LSN: pg_basebackup of the root branch, and recovery from its archived WAL, on the plain file system."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from fuzzer.model import lsn_text
from harness.platform import clean_environment
from harness.stock import unprivileged
from harness.waiting import wait_until


def hashes(connection, tables):
    """Rows of each table and a hash of their whole content, in no order."""
    found = {}
    for table in tables:
        query = f"select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from {table} t"
        found[table] = connection.execute(query).fetchone()
    return found


class BaseBackup:
    def __init__(self, platform, endpoint):
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-stock-", dir="/tmp"))
        os.chmod(self.folder, 0o711)
        self.archive = platform.volume(endpoint) / "archive"
        self.entry, self.switch = unprivileged()
        # The map of system users names Tarn's own only, who is the one that runs this.
        subprocess.run(
            ["pg_basebackup", "-D", str(self.folder / "base"), "-h", str(platform.socket_directory(endpoint)), "-p", "5432",
             "-U", "cloud_admin", "-X", "none", "-c", "fast"],
            env=clean_environment(), check=True, capture_output=True, timeout=120)  # fmt: skip
        with platform.direct(endpoint) as connection:
            (now,) = connection.execute("select pg_current_wal_lsn() - '0/0'").fetchone()
        self.first_lsn = int(now)

    def covers(self, lsn):
        return lsn >= self.first_lsn

    def hashes_at(self, lsn, tables):
        """Restores a copy to `lsn` (the end of a record) and asks it."""
        place = Path(tempfile.mkdtemp(prefix="at-", dir=self.folder))
        data, wal = place / "data", place / "archive"
        subprocess.run(["cp", "-a", str(self.folder / "base"), str(data)], check=True)
        # Names as they are now: recovery must not read what is linked while it runs.
        shutil.copytree(self.archive, wal)
        (data / "postgresql.auto.conf").write_text("")
        # Not less than what the WAL's own server had: a branch's first start has room for 256 prepared transactions (volume.c).
        (data / "postgresql.conf").write_text(
            f"""listen_addresses = ''
unix_socket_directories = '{place}'
shared_buffers = 64MB
max_connections = 500
max_worker_processes = 64
max_prepared_transactions = 300
wal_level = logical
fsync = off
restore_command = 'cp {wal}/%f %p'
recovery_target_lsn = '{lsn_text(lsn)}'
recovery_target_inclusive = off
recovery_target_action = pause
recovery_target_timeline = current
hot_standby = on
""")
        (data / "pg_hba.conf").write_text("local all all trust\n")
        (data / "recovery.signal").touch()
        (data / "pg_wal").mkdir(exist_ok=True)
        if self.entry:
            subprocess.run(["chown", "-R", f"{self.entry.pw_uid}:{self.entry.pw_gid}", str(place)], check=True)
        os.chmod(data, 0o700)
        log = open(place / "log", "wb")
        server = subprocess.Popen(["postgres", "-D", str(data)], stdout=log, stderr=log, env=clean_environment(), cwd="/", **self.switch)
        try:
            def paused():
                if server.poll() is not None:
                    raise RuntimeError(f"stock Postgres did not recover: {(place / 'log').read_text(errors='replace')[-3000:]}")
                connection = psycopg.connect(host=str(place), user="cloud_admin", dbname="databricks_postgres", autocommit=True)
                if connection.execute("select pg_get_wal_replay_pause_state()").fetchone() != ("paused",):
                    connection.close()
                    return None
                return connection

            with wait_until(paused, "stock Postgres recovered", 120) as connection:
                return hashes(connection, tables)
        finally:
            server.kill()
            server.wait(30)
            log.close()
            time.sleep(0)
            shutil.rmtree(place, ignore_errors=True)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)
