"""Settings: `mishards config` and the server refuse the same, and say what there is."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from harness import BINARY, free_ports

# Section, line, and a part of what is said of it.
NONSENSE = [
    ("ingest", "seal_rows = -1", "whole number"),
    ("ingest", "seal_rows = 0", "whole number"),
    ("ingest", 'seal_bytes = "512M"', "512MB"),
    ("log", 'format = "xml"', "text or json"),
    ("log", 'level = "verbose"', "error, warn, info"),
    ("log", 'level = "debg"', "did you mean debug?"),
    ("discovery", 'plugin = "eureka"', "static, dns"),
    ("discovery", 'plugin = "consul"', "needs discovery.address"),
    ("protocol", 'version = "foo"', "v2.6.x"),
    ("router", 'placement = "random"', "bounded-ring or rendezvous"),
    ("trace", "sample_ratio = 7", "from 0 to 1"),
    ("trace", 'endpoint = "jaeger"', "http://"),
    ("retention", "window_seconds = 0", "a time from"),
    ("cluster", 'catalog = "mysql://me:secret@127.0.0.1/m?ssl-mod=REQUIRED"', "ssl-mode, ssl-ca"),
]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    others = {key: value for key, value in os.environ.items() if not key.startswith("MISHARDS_")}
    command = [str(BINARY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, env=others | variables, check=False)


@pytest.mark.parametrize(("section", "line", "said"), NONSENSE, ids=[line for _, line, _ in NONSENSE])
def test_nonsense_is_refused_alike(section: str, line: str, said: str, tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text(f"[{section}]\n{line}\n")
    asked = run("config", "--config", str(file))
    served = run("standalone", "--data-dir", str(tmp_path / "data"), "--config", str(file))
    assert asked.returncode != 0 and served.returncode != 0
    assert asked.stderr == served.stderr
    assert f"{section}.{line.split()[0]}" in asked.stderr or section == "discovery", asked.stderr
    assert said in asked.stderr and "secret" not in asked.stderr, asked.stderr
    assert not (tmp_path / "data").exists()


def test_units_are_read_and_shown_as_they_were_given(tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text('[ingest]\nseal_bytes = "512MB"\nseal_age_seconds = "5m"\n[log]\nslow_query_ms = "2s"\n')
    shown = tomllib.loads(run("config", "--config", str(file)).stdout)
    assert shown["ingest"]["seal_bytes"] == "512MB" and shown["ingest"]["seal_age_seconds"] == "5m"
    assert shown["log"]["slow_query_ms"] == "2s"


def test_a_variable_that_only_looks_like_a_setting_is_named(tmp_path: Path):
    shown = run("config", MISHARDS_SERVER_LISTEN="0.0.0.0:1")
    assert shown.returncode == 0 and "MISHARDS_SERVER_LISTEN" in shown.stderr
    assert tomllib.loads(shown.stdout)["server"]["listen"] == "127.0.0.1:19530"
    assert run("config").stderr == ""
    # A server says it in its log, and starts: here as far as the port that is taken.
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    arguments = ["standalone", "--data-dir", str(tmp_path / "data"), "--listen", address, "--ops-listen", address]
    served = run(*arguments, MISHARDS_SERVER_LISTEN="0.0.0.0:1")
    assert "WARN" in served.stdout + served.stderr and "MISHARDS_SERVER_LISTEN" in served.stderr
    assert "cannot listen" in served.stderr
