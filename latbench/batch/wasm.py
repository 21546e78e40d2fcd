"""WebAssembly run by Wasmtime's C interface: compiled code that needs no compiler.

Wasmtime's Python package is there for its library file: its own classes take 70 ms to import and 10
to 200 µs for a call, where the C interface called directly takes 10 ms and 1 µs. Only what is
needed is declared here, as `wasmtime.h` of the versions that `pyproject.toml` allows has it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import platform
import struct
import sys
import weakref
from collections.abc import Callable
from ctypes import c_bool, c_char_p, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Final

from latbench.errors import LatbenchError

_FOLDERS: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_FILES: Final = {"linux": "_libwasmtime.so", "darwin": "_libwasmtime.dylib"}
_VALUE_WORDS: Final = 2
"""`wasmtime_val_raw_t`: 16 bytes, for the sake of vectors."""
_EXTERN_BYTES: Final = 64
"""More than `wasmtime_extern_t` takes (32)."""
_EXTERN_VALUE: Final = 8
"""Where in it the function or memory stands, behind its kind."""


def library_path() -> Path | None:
    """Where the package has Wasmtime's library for this machine, without importing it."""
    found = importlib.util.find_spec("wasmtime")
    folder, file = _FOLDERS.get(platform.machine().lower()), _FILES.get(sys.platform)
    if found is None or found.origin is None or folder is None or file is None:
        return None
    path = Path(found.origin).parent / f"{sys.platform}-{folder}" / file
    return path if path.exists() and ctypes.sizeof(c_void_p) == 8 else None


def is_available() -> bool:
    """Whether modules can run here."""
    return library_path() is not None


class _Library:
    """The functions of Wasmtime that are used."""

    def __init__(self, path: Path) -> None:
        library = ctypes.PyDLL(str(path))  # calls take microseconds: the interpreter is kept

        def declare(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
            function = library[name]
            function.restype, function.argtypes = result, arguments
            return function

        self.config_new = declare("wasm_config_new", c_void_p)
        self.reserve = declare("wasmtime_config_memory_reservation_set", None, c_void_p, c_uint64)
        self.reserve_growth = declare(
            "wasmtime_config_memory_reservation_for_growth_set", None, c_void_p, c_uint64
        )
        self.guard = declare("wasmtime_config_memory_guard_size_set", None, c_void_p, c_uint64)
        self.engine_new = declare("wasm_engine_new_with_config", c_void_p, c_void_p)
        self.module_new = declare(
            "wasmtime_module_new", c_void_p, c_void_p, c_char_p, c_size_t, c_void_p
        )
        self.store_new = declare("wasmtime_store_new", c_void_p, c_void_p, c_void_p, c_void_p)
        self.store_context = declare("wasmtime_store_context", c_void_p, c_void_p)
        self.store_delete = declare("wasmtime_store_delete", None, c_void_p)
        self.instance_new = declare(
            "wasmtime_instance_new",
            *(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_void_p),
        )
        self.export_get = declare(
            "wasmtime_instance_export_get",
            *(c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p),
        )
        self.memory_data = declare("wasmtime_memory_data", c_void_p, c_void_p, c_void_p)
        self.memory_size = declare("wasmtime_memory_data_size", c_size_t, c_void_p, c_void_p)
        self.call = declare(
            "wasmtime_func_call_unchecked",
            *(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p),
        )


@functools.cache
def _library() -> _Library:
    path = library_path()
    if path is None:
        raise LatbenchError(
            f"Wasmtime has no library for {sys.platform} on {platform.machine()} here",
            "write --no-compiled, which needs none",
        )
    return _Library(path)


@functools.cache
def _compiled(binary: bytes) -> tuple[int, int]:
    """Engine and module (10 ms); both last as long as the process."""
    library = _library()
    config = library.config_new()
    # by default 6 GiB of addresses are set aside, which `ulimit -v` and mlockall(2) would mind
    library.reserve(config, 0)
    library.reserve_growth(config, 0)
    library.guard(config, 0)
    engine, module = library.engine_new(config), c_void_p()
    if library.module_new(engine, binary, len(binary), ctypes.byref(module)) or not module.value:
        raise LatbenchError("Wasmtime can't compile latbench's module", "reinstall latbench")
    return engine, module.value


class Instance:
    """A module with a memory of its own."""

    def __init__(self, binary: bytes) -> None:
        library = _library()
        engine, module = _compiled(binary)
        store = library.store_new(engine, None, None)
        weakref.finalize(self, library.store_delete, store)
        self._context = library.store_context(store)
        self._instance = ctypes.create_string_buffer(_EXTERN_BYTES)
        trap = c_void_p()
        if (
            library.instance_new(self._context, module, None, 0, self._instance, ctypes.byref(trap))
            or trap.value
        ):
            raise LatbenchError("Wasmtime can't start latbench's module", "reinstall latbench")
        exported = self._export("memory")
        memory = ctypes.addressof(exported) + _EXTERN_VALUE
        size_bytes = library.memory_size(self._context, memory)
        self.base: int = library.memory_data(self._context, memory)
        """Where the memory begins in this process; it never grows, so it never moves."""
        array = (ctypes.c_ubyte * size_bytes).from_address(self.base)
        self.memory = memoryview(array).cast("B")
        """Valid only as long as this object."""

    def _export(self, name: str) -> ctypes.Array[ctypes.c_char]:
        found = ctypes.create_string_buffer(_EXTERN_BYTES)
        encoded = name.encode()
        if not _library().export_get(self._context, self._instance, encoded, len(encoded), found):
            raise KeyError(name)
        return found

    def function(self, name: str, arguments: int) -> Callable[..., int]:
        """An exported function of so many integers; the 32 bits it returns (1 µs a call)."""
        extern = self._export(name)
        words = (c_int64 * (_VALUE_WORDS * max(arguments, 1)))()
        trap = c_void_p()
        pack_into = struct.Struct("=" + "q8x" * arguments).pack_into
        call, context, address = _library().call, self._context, ctypes.addressof(words)
        place, trap_at = ctypes.addressof(extern) + _EXTERN_VALUE, ctypes.addressof(trap)
        values = max(arguments, 1)

        def run(*given: int) -> int:  # hot path
            pack_into(words, 0, *given)
            if call(context, place, address, values, trap_at) or trap:
                trap.value = None
                raise RuntimeError(f"{name}{given} was stopped by Wasmtime")
            return words[0] & 0xFFFFFFFF

        run.instance, run.extern = self, extern  # type: ignore[attr-defined]  # as long as it
        return run
