"""The README's first command on a fresh checkout, as it stands (the second runs this test)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from latbench.store import read_result
from tests.test_docs import ROOT, fenced_blocks
from tests.test_house import tracked_files


@pytest.mark.timeout(600)
def test_the_main_job_runs_on_a_fresh_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for path in filter(Path.is_file, tracked_files()):
        copy = checkout / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    commands = [block.text for block in fenced_blocks(ROOT / "README.md") if block.language == "sh"]
    assert len(commands) == 2
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands[0]],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (checkout / "bench-results").glob("*.parquet")
    result = read_result(file)
    assert result.counts.measured == 60_000
    assert result.counts.lost == 0
    assert f"latbench run {result.run_id}" in done.stdout
