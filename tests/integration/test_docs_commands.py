"""Every command and every snippet of the pages is run, as it stands there.

`sh` blocks of a page in their order, then its `python` blocks, in a directory of its own. What
can't be run in a test (Docker, a Kafka in the foreground) stands in blocks of another language.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka import KafkaServer
from tests.test_docs import PAGES, Block, fenced_blocks

BOOTSTRAP = "localhost:9092"
"""How pages write the address of a Kafka."""

SHIM = """\
#!/bin/sh
exec "{python}" -m latbench "$@"
"""


def runnable(page: Path) -> list[Block]:
    """A page's blocks in the order to run them in."""
    blocks = fenced_blocks(page)
    return [block for kind in ("sh", "python") for block in blocks if block.language == kind]


def environment(directory: Path) -> dict[str, str]:
    """Ours without what sets an option, and with `latbench` on the path."""
    directory.mkdir()
    shim = directory / "latbench"
    shim.write_text(SHIM.format(python=sys.executable))
    shim.chmod(0o755)
    settings = ("TICK_RATE", "DURATION", "SYMBOLS", "WEBSOCKET_", "KAFKA_", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return {**kept, "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: page.name
)
def test_what_a_page_says_to_run_runs(page: Path, kafka: KafkaServer, tmp_path: Path) -> None:
    variables = environment(tmp_path / "bin")
    work = tmp_path / "work"
    work.mkdir()
    for block in runnable(page):
        text = block.text.replace(BOOTSTRAP, kafka.bootstrap)
        shell = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            [sys.executable, "-c", text] if block.language == "python" else shell,
            cwd=work,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{page.name}, line {block.line}:\n{done.stdout}"
