"""The README's first command on a fresh checkout, for a shorter time (the second runs this)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from latbench.store import read_result
from tests.test_docs import ROOT, fenced_blocks
from tests.test_house import tracked_files

SECONDS_IN_README = "60"
SECONDS_HERE = "15"
"""A minute of ticks is like a quarter of one."""


@pytest.mark.timeout(600)
def test_the_main_job_runs_on_a_fresh_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for path in filter(Path.is_file, tracked_files()):
        copy = checkout / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    commands = [block.text for block in fenced_blocks(ROOT / "README.md") if block.language == "sh"]
    assert len(commands) == 2
    main_job = commands[0]
    assert main_job.endswith(f"--tick-rate 1000 --duration {SECONDS_IN_README}\n")
    shorter = main_job.replace(f"--duration {SECONDS_IN_README}", f"--duration {SECONDS_HERE}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", shorter],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (checkout / "bench-results").glob("*.parquet")
    result = read_result(file)
    assert result.counts.measured == 1000 * int(SECONDS_HERE)
    assert result.counts.lost == 0
    assert f"latbench run {result.run_id}" in done.stdout
