"""PostgreSQL's own regression and isolation suites on a branch, beside the same Postgres on the plain file system."""

import argparse
import difflib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from harness import processes
from harness.platform import Platform, clean_environment
from harness.waiting import wait_until
from long import postgres_source

# Suites that need what a volume does not have.
EXCLUDED = {"tablespace": "tablespaces lie outside the volume, and branches refuse them (rule 8)"}

# What fills a few minutes of ./check: file operations, DDL, vacuum, big objects, indexes, concurrency.
QUICK = {
    "regress": ["test_setup", "boolean", "int4", "text", "copy", "insert", "create_table", "create_index", "create_view", "btree_index",
                "hash_index", "gin", "gist", "brin", "vacuum", "truncate", "alter_table", "largeobject", "toast", "transactions",
                "portals", "sequence", "cluster", "matview", "temp", "indexing", "compression", "reloptions"],
    "isolation": ["read-only-anomaly", "two-ids", "deadlock-simple", "vacuum-conflict", "reindex-concurrently", "insert-conflict-do-update",
                  "multixact-no-deadlock", "alter-table-1", "detach-partition-concurrently-1", "fk-deadlock", "lock-update-delete"],
}  # fmt: skip

DATABASES = {"regress": "regression", "isolation": "isolation_regression"}  # names that the expected output shows
RESULT = re.compile(r"^(not )?ok (\d+)\s+[-+] (\S+)")


class Stock:
    """The same Postgres with the same settings, on the plain file system."""

    def __init__(self, platform, endpoint):
        self.entry = pwd.getpwnam("tarn") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        switch = {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-stock-", dir="/tmp"))
        self.data = self.folder / "data"
        subprocess.run(["pg_basebackup", "-D", str(self.data), "-h", str(platform.socket_directory(endpoint)), "-U", "cloud_admin", "-X", "stream",
                        "-c", "fast"], env=clean_environment(), check=True, capture_output=True)  # fmt: skip
        shutil.copy(platform.directory / "computes" / endpoint["uid"] / "postgresql.conf", self.folder / "postgresql.conf")
        with open(self.folder / "postgresql.conf", "a") as file:
            file.write("archive_mode = off\nfsync = off\nrestore_command = ''\n")
        (self.folder / "hba.conf").write_text("local all all trust\n")
        (self.folder / "ident.conf").write_text("")
        subprocess.run(["chown", "-R", f"{self.entry.pw_uid}:{self.entry.pw_gid}", str(self.folder)], check=True)
        os.chmod(self.folder, 0o700 if os.geteuid() else 0o711)
        os.chmod(self.data, 0o700)
        self.log = open(self.folder / "log", "wb")
        self.server = subprocess.Popen(
            ["postgres", "-D", str(self.data), "-c", f"config_file={self.folder}/postgresql.conf", "-c", f"hba_file={self.folder}/hba.conf",
             "-c", f"ident_file={self.folder}/ident.conf", "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", "-c", "port=5432"],
            stdout=self.log, stderr=self.log, env=clean_environment(), cwd="/", **switch)  # fmt: skip
        wait_until(self.answers, "the bare Postgres accepts", 60)

    def answers(self):
        if self.server.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text(errors="replace")[-3000:])
        psycopg.connect(host=str(self.folder), user="cloud_admin", dbname="postgres").close()
        return True

    def close(self):
        self.server.terminate()
        self.server.wait(60)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare(source, suite, place, user):
    """A copy of a suite that the server's user can read, with its C library where the suite looks for it."""
    folder = place / suite
    shutil.copytree(source / "src" / "test" / suite, folder)
    if suite == "regress":
        include = subprocess.run(["pg_config", "--includedir-server"], capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run(["cc", "-O2", "-fPIC", "-shared", f"-I{include}", str(folder / "regress.c"), "-o", str(folder / "regress.so")], check=True)
        libraries = Path(subprocess.run(["pg_config", "--pkglibdir"], capture_output=True, text=True, check=True).stdout.strip())
        for name in ("autoinc.so", "refint.so"):
            shutil.copy(libraries / name, folder)
    subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", str(folder)], check=True)
    return folder


def schedule(folder, suite, quick):
    name = "parallel_schedule" if suite == "regress" else "isolation_schedule"
    lines = []
    for line in (folder / name).read_text().splitlines():
        if line.startswith("test:"):
            tests = [t for t in line.split()[1:] if t not in EXCLUDED and (not quick or t in QUICK[suite])]
            if tests:
                lines.append("test: " + " ".join(tests))
    path = folder / "schedule"
    path.write_text("\n".join(lines) + "\n")
    return path


class Way:
    """How a suite's clients get to a server."""

    def __init__(self, host, port=5432, role="cloud_admin", **environment):
        self.host, self.port, self.role, self.environment = host, port, role, environment


def through_proxy(platform, endpoint):
    """With TLS that is verified, and a token: valid for an hour, and looked at when one connects."""
    parameters = platform.connection_parameters(endpoint)
    return Way(parameters["host"], parameters["port"], parameters["user"], PGPASSWORD=parameters["password"], PGSSLMODE="verify-full",
               PGSSLROOTCERT=parameters["sslrootcert"])  # fmt: skip


def run_suite(folder, suite, way, quick, user):
    """{test: passed}, and the seconds it took."""
    pgxs = Path(subprocess.run(["pg_config", "--pgxs"], capture_output=True, text=True, check=True).stdout.strip()).parents[2]
    driver = pgxs / "src/test" / suite / ("pg_regress" if suite == "regress" else "pg_isolation_regress")
    bindir = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
    out = folder / "out"
    out.mkdir()
    # The server's user writes files there (COPY TO, lo_export), and psql into the same ones.
    switch = {}
    if os.geteuid() == 0:
        os.chown(out, user.pw_uid, user.pw_gid)
        switch = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    command = [str(driver), f"--host={way.host}", f"--port={way.port}", f"--user={way.role}", f"--bindir={bindir}", f"--inputdir={folder}", f"--outputdir={out}",
               f"--expecteddir={folder}", f"--dlpath={folder}", f"--schedule={schedule(folder, suite, quick)}", f"--dbname={DATABASES[suite]}"]
    if suite == "regress":
        command.append("--max-concurrent-tests=20")
    begin = time.monotonic()
    done = subprocess.run(command, env=clean_environment(HOME=str(folder), **way.environment), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **switch)  # fmt: skip
    results = {m[3]: not m[1] for m in map(RESULT.match, done.stdout.splitlines()) if m}
    if not results:
        sys.exit(f"{suite}: the driver ran nothing:\n{done.stdout[-3000:]}")
    return results, time.monotonic() - begin


# How libpq tells of an end, over TLS and without: the only words in which the two ways in differ.
ENDS = ("SSL connection has been closed unexpectedly",
        "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n\tbefore or while processing the request.")


def output_of(folder, test):
    for path in (folder / "out" / "results" / f"{test}.out", folder / "out" / "output_iso" / "results" / f"{test}.out"):
        if path.exists():
            return path.read_text(errors="replace").replace(str(folder), "FOLDER").replace(*ENDS)
    return None


def difference(ours, theirs, test):
    lines = [(output_of(folder, test) or "").splitlines() for folder in (theirs, ours)]
    return "\n".join(difflib.unified_diff(*lines, "bare Postgres", "on the branch", lineterm=""))


# pg_stat_statements, which Tarn always loads, would put identifiers that differ from run to run into the output.
QUIET_IDENTIFIERS = "alter role all set compute_query_id = regress"


# The suites need a superuser, and nobody becomes one by way of Tarn: so one that logs in through the proxy is made one past it.
OWNER = "admin@localhost"
SUPERUSER = f'alter role "{OWNER}" superuser'


def amcheck(socket):
    done = subprocess.run(["pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--parent-check", "--jobs=2",
                           "-h", str(socket), "-p", "5432", "-U", "cloud_admin"], env=clean_environment(), capture_output=True, text=True)  # fmt: skip
    return done.returncode, (done.stdout + done.stderr)[-3000:]


def main():
    parser = argparse.ArgumentParser(prog="tests/long/installcheck", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="which (default: both)")
    parser.add_argument("--quick", action="store_true", help="only a choice of tests, for a few minutes")
    parser.add_argument("--through-proxy", action="store_true", help="by TLS and a token, as every client; not past the proxy")
    parser.add_argument("--verbose", action="store_true", help="show how outputs differ that bare Postgres has, too")
    parser.add_argument("--points", type=float, default=10, help="seconds between two restore points while the suites run (0: none)")
    options = parser.parse_args()
    source = postgres_source.find()
    place = Path(tempfile.mkdtemp(prefix="tarn-suites-", dir="/tmp"))
    place.chmod(0o755)
    failed = False
    try:
        with Platform(settings={"suspend_timeout_min_sec": 1}) as platform:
            rest = platform.rest
            rest.create_project("suites", {"spec": {"default_endpoint_settings": {"no_suspension": True}}})
            rest.create_branch("suites", "dev")
            endpoint = rest.endpoint("suites", "dev")
            platform.wake(endpoint)
            socket = platform.socket_directory(endpoint)
            # Postgres can write in its own folders only, so its suite is in one of those.
            inside = platform.volume(endpoint) / "suites"
            inside.mkdir(mode=0o755)
            user = pwd.getpwuid((platform.volume(endpoint) / "wal").stat().st_uid)
            if os.geteuid() == 0:  # Tarn lets in nobody but the user it runs as
                with open(socket.parent / "ident.conf", "a") as ident:
                    ident.write(f'tarn "{user.pw_name}" all\n')
                with platform.direct(endpoint) as admin:
                    admin.execute("select pg_reload_conf()")
            stop = threading.Event()
            snapshots = []

            def make_points():
                while options.points and not stop.wait(options.points):
                    name = f"s{len(snapshots)}"
                    try:
                        rest.create_snapshot("suites", name, "dev")
                        snapshots.append(name)
                        if len(snapshots) > 1:
                            rest.delete_snapshot("suites", snapshots[-2])
                    except AssertionError as error:
                        print(f"  a snapshot while the suites ran: {error}", flush=True)
                        snapshots.append(None)

            stock = Stock(platform, endpoint)
            try:
                for host in (stock.folder, socket):
                    with psycopg.connect(host=str(host), user="cloud_admin", dbname="postgres", autocommit=True) as admin:
                        admin.execute(QUIET_IDENTIFIERS)
                        if options.through_proxy:
                            admin.execute(SUPERUSER)
                ways = Way(socket), Way(stock.folder)
                if options.through_proxy:
                    ways = through_proxy(platform, endpoint), Way(stock.folder, role=OWNER)
                for suite in options.suites or ["regress", "isolation"]:
                    ours_folder = prepare(source, suite, inside, user)
                    theirs_folder = prepare(source, suite, place / "stock", user)
                    theirs, their_seconds = run_suite(theirs_folder, suite, ways[1], options.quick, user)
                    stop.clear()
                    points = threading.Thread(target=make_points)
                    points.start()
                    ours, our_seconds = run_suite(ours_folder, suite, ways[0], options.quick, user)
                    stop.set()
                    points.join()
                    print(f"{suite}{' through the proxy' if options.through_proxy else ''}: {len(ours)} tests, {sum(ours.values())} as expected; bare Postgres: {sum(theirs.values())}; "
                          f"{our_seconds:.0f} s and {their_seconds:.0f} s", flush=True)  # fmt: skip
                    for test in sorted(ours):
                        if ours[test]:
                            continue
                        if output_of(ours_folder, test) == output_of(theirs_folder, test):
                            print(f"  {test}: differs from the expected output as bare Postgres with the same settings does", flush=True)
                            if options.verbose:
                                expected = (ours_folder / "expected" / f"{test}.out").read_text(errors="replace").splitlines()
                                found = output_of(ours_folder, test).splitlines()
                                print("\n".join(difflib.unified_diff(expected, found, "expected", "found", lineterm="", n=1)))
                            continue
                        failed = True
                        print(f"  {test}: FAILED\n{difference(ours_folder, theirs_folder, test)[:3000]}", flush=True)
                    missing = set(theirs) - set(ours)
                    if missing:
                        failed = True
                        print(f"  not run: {sorted(missing)}", flush=True)
            finally:
                stop.set()
                stock.close()
            for moment in ("after the suites", "after a suspend and a wake"):
                code, text = amcheck(socket)
                print(f"pg_amcheck {moment}: {'all well' if code == 0 else text}", flush=True)
                failed = failed or code != 0
                platform.sleep("suites", "dev")
                platform.wake(endpoint)
            for name in EXCLUDED:
                print(f"not run: {name}: {EXCLUDED[name]}")
            pid = platform.pagefs_pid(endpoint)
            if pid:
                print(f"pagefs: {processes.describe(pid)[:60]} …")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
