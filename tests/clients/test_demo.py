"""The demo: real text found by meaning, and both read-only nodes at work."""

import re
import subprocess

import pytest
from harness import BINARY

pytestmark = pytest.mark.timeout(120)


def test_the_demo_answers_from_both_read_only_nodes():
    done = subprocess.run([str(BINARY), "demo", "--once"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "stellarium" in done.stdout, "a question about the night sky finds no planetarium"
    for node in ("reader-1", "reader-2"):
        assert re.search(rf"^ +{node} +segments? \d+", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^ +writer +.*growing rows", done.stdout, re.MULTILINE), done.stdout
