"""HdrHistogram's own `HistogramLogProcessor`: the jar from Maven Central, run by Java.

Needs a JDK or JRE from 8 on, and Maven the first time.
"""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.kafka import CACHE, TOOL_FLAGS

POM: Final = Path(__file__).with_name("hdrhistogram-pom.xml")
JAR: Final = CACHE / "hdrhistogram" / "HdrHistogram-2.2.2.jar"


def resolve_jar() -> Path:
    """The jar, fetched by Maven (200 kB) when not there yet; it appears whole or not at all.

    The lock is that of `tests.kafka`: Maven's own repository is not safe for two.
    """
    if JAR.exists():
        return JAR
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if JAR.exists():
            return JAR
        with tempfile.TemporaryDirectory(prefix="hdrhistogram-", dir=CACHE) as scratch:
            fresh = Path(scratch) / "jars"
            arguments = ["-q", "-B", "-f", str(POM), f"-DoutputDirectory={fresh}"]
            fetched = subprocess.run(
                ["mvn", *arguments, "dependency:copy-dependencies"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert fetched.returncode == 0, f"mvn could not fetch HdrHistogram:\n{fetched.stdout}"
            JAR.parent.mkdir(exist_ok=True)
            (fresh / JAR.name).rename(JAR)
    return JAR


def process_log(log: Path, *options: str) -> str:
    """What `HistogramLogProcessor` prints of a log; fails where it complains."""
    program = [
        "java",
        *TOOL_FLAGS,
        "-cp",
        str(resolve_jar()),
        "org.HdrHistogram.HistogramLogProcessor",
    ]
    done = subprocess.run(
        [*program, "-i", str(log), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
