"""Compiles `ticks.c` to `ticks.wasm`: `python -m latbench.batch.build`.

Needs the Zig toolchain, a wheel like any other (`pip install ziglang`, in the extra `build`). Users
need neither: the compiled file (9 kB) is in the repository, and a test compiles it anew and
compares.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("ticks.c")
MODULE: Final = Path(__file__).with_name("ticks.wasm")
_OPTIONS: Final = (
    *("-target", "wasm32-freestanding", "-O3", "-msimd128", "-mbulk-memory"),
    *("-std=c11", "-Wall", "-Wextra", "-Werror", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all"),
)


def compile_to(module: Path) -> None:
    """Write the module; `CalledProcessError` where the compiler finds fault."""
    command = [sys.executable, "-m", "ziglang", "cc", *_OPTIONS, "-o", str(module), SOURCE.name]
    subprocess.run(command, check=True, cwd=SOURCE.parent)  # a path would end up in the module
    module.chmod(0o644)


if __name__ == "__main__":
    compile_to(MODULE)
