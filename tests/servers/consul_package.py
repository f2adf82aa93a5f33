"""Gets Consul from Debian 11, the last one that has it, without touching the system's packages and lists.

The program stays below cargo's target directory, and so does a note if it could not be had.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "1.8.7"
SUITE = "bullseye"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FETCHED_WITHIN = 120

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "servers"
PROGRAM = FOLDER / f"consul-{VERSION}"
NOTE = FOLDER / "consul-failed.txt"


def why_not() -> str:
    """Why it cannot be run; empty if it can."""
    if PROGRAM.exists():
        return ""
    if NOTE.exists():
        return f"it could not be fetched: {NOTE.read_text().strip()}"
    return "it is not in this Debian; tests/servers/servers.py fetch gets it"


def fetch() -> None:
    """Unless it is there already. A failure is only noted: most tests do without it."""
    if PROGRAM.exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="consul-", dir=FOLDER) as folder:
        reason = fetch_into(Path(folder))
    if reason:
        NOTE.write_text(reason + "\n")
    else:
        NOTE.unlink(missing_ok=True)


def fetch_into(folder: Path) -> str:
    """Returns why it failed; empty if the program is in place."""
    if not shutil.which("apt-get") or not KEYS.exists():
        return "apt-get or Debian's keys are missing"
    reason = "apt knows no Debian mirror"
    try:
        for mirror in mirrors():
            reason = fetch_from(mirror, folder)
            if not reason:
                break
    except (OSError, subprocess.SubprocessError) as error:
        reason = explain(error)
    return reason


def fetch_from(mirror: str, folder: Path) -> str:
    environment = os.environ | {"APT_CONFIG": str(configure(folder, mirror))}
    try:
        run(["apt-get", "-qq", "update"], folder, environment)
        run(["apt-get", "-qq", "download", "consul"], folder, environment)
        [package] = folder.glob("*.deb")
        run(["dpkg", "--extract", str(package), "unpacked"], folder)
        (folder / "unpacked/usr/bin/consul").replace(PROGRAM)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return explain(error)
    return ""


def mirrors() -> list[str]:
    """Where this machine gets its packages from; those that are not Debian's will not have the suite."""
    sources = run(["apt-get", "update", "--print-uris"], ROOT)
    return list(dict.fromkeys(re.findall(r"'(\S+/)dists/\w+/InRelease'", sources)))


def configure(folder: Path, mirror: str) -> Path:
    """A configuration of apt in which there is nothing but that suite."""
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYS} target=Packages] {mirror} {SUITE} main\n")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }
    file = folder / "apt.conf"
    file.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return file


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=FETCHED_WITHIN, check=True
    ).stdout


def explain(error: Exception) -> str:
    """The first line of what apt said, if it said something."""
    said = getattr(error, "stderr", None)
    return said.strip().splitlines()[0] if isinstance(said, str) and said.strip() else str(error)
