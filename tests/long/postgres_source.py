"""The source of the installed PostgreSQL, for its tests: from Debian's mirror, once per machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def installed_version():
    text = subprocess.run(["pg_config", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"(\d+)\.(\d+)", text).groups()


def _apt_environment(cache):
    """tools/setup's own apt configuration where there is one (Debian 12); else one like it, so that the host's lists stay as they are."""
    config = cache / "apt" / "apt.conf"
    if not config.exists():
        folder = config.parent
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"], capture_output=True, text=True,
                               check=False).stdout.split()  # fmt: skip
        mirror = next((s for s in sites if s.rstrip("/").endswith("/debian")), "http://deb.debian.org/debian")
        security = next((s for s in sites if s.rstrip("/").endswith("/debian-security")), "http://deb.debian.org/debian-security")
        (folder / "sources.list").write_text(
            f"deb-src [signed-by={KEYRING}] {mirror} trixie main\ndeb-src [signed-by={KEYRING}] {security} trixie-security main\n")
        config.write_text(f'Dir::Etc::SourceList "{folder}/sources.list";\nDir::Etc::SourceParts "/dev/null";\nDir::State::Lists "{folder}/lists";\n'
                          f'Dir::Cache "{folder}/cache";\nAPT::Sandbox::User "";\n')  # fmt: skip
        subprocess.run(["apt-get", "update", "-q"], env={**os.environ, "APT_CONFIG": str(config)}, check=True, capture_output=True)
    return {**os.environ, "APT_CONFIG": str(config)}


def find():
    """The unpacked source's folder."""
    major, minor = installed_version()
    cache = Path(os.environ["TARN_CACHE"])
    place = cache / "postgresql-source" / f"{major}.{minor}"
    if not (place / "complete").exists():
        print(f"fetching the source of PostgreSQL {major}.{minor} …", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        environment = _apt_environment(cache)
        shown = subprocess.run(["apt-cache", "showsrc", f"postgresql-{major}"], env=environment, capture_output=True, text=True, check=True).stdout
        versions = [v for v in re.findall(r"^Version: (.*)$", shown, re.M) if v.startswith(f"{major}.{minor}-")]
        if not versions:
            sys.exit(f"the mirror has no source of PostgreSQL {major}.{minor}")
        subprocess.run(["apt-get", "source", "-q", "--tar-only", f"postgresql-{major}={versions[-1]}"], cwd=place, env=environment, check=True,
                       capture_output=True)  # fmt: skip
        (tarball,) = place.glob("*.orig.tar.*")
        subprocess.run(["tar", "-xf", tarball, "--wildcards", "*/src/test/regress", "*/src/test/isolation", "*/src/include"], cwd=place, check=True)
        tarball.unlink()
        (place / "complete").touch()
    return next(p for p in place.iterdir() if p.is_dir())
