"""Secrets of a command line are not left where everybody sees them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from latbench.config import secrets_among

SCRIPT = """
import sys
from pathlib import Path
from latbench.cli.process_list import blot_secrets
blot_secrets()
print(Path("/proc/self/cmdline").read_bytes())
print(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("words", "secrets"),
    [
        ([], []),
        (["run", "--tick-rate", "1000"], []),
        (["relay", "--token", "s3cret"], ["s3cret"]),
        (["relay", "--token=s3cret"], ["s3cret"]),
        (["relay", "--token", ""], []),
        (["relay", "--token"], []),
        (["run", "--producer", "sasl.password=a=b"], ["a=b"]),
        (["run", "--kafka=sasl.password=hidden"], ["hidden"]),
        (["run", "--kafka", "SASL.PASSWORD=hidden"], ["hidden"]),
        (["run", "--consumer", "ssl.key.pem=---"], ["---"]),
        (["run", "--producer", "sasl.username=me", "--broker=x:1"], []),
    ],
)
def test_secrets_are_known_by_their_option_or_their_key(
    words: list[str], secrets: list[str]
) -> None:
    assert [secret for secret in secrets_among(words) if secret] == secrets


def test_they_are_overwritten_and_the_program_has_them_still() -> None:
    words = ["relay", "--token", "s3cret", "--kafka", "sasl.password=pässwort", "s3cret-not"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True
    )
    shown, had = done.stdout.splitlines()
    assert "s3cret\\x00" not in shown
    assert "wort" not in shown
    assert "******\\x00" in shown
    assert "s3cret-not" in shown
    assert had == str(words)
