"""Modules run by Wasmtime's C interface: small ones written for these tests."""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib.util
import os
import platform
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
import wasmtime

from latbench.batch import wasm
from latbench.batch.ticks import ConsumerBatch, RelayBatch
from latbench.batch.wasm import Instance
from latbench.errors import LatbenchError

PAGE_BYTES: Final = 1 << 16
LARGE_PAGES: Final = 1024
ALLOWED_BYTES: Final = 1 << 30
"""More than the C library sets aside for each thread of Wasmtime's (64 MB)."""


def compiled(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


MODULE: Final = compiled("""
(module
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (func (export "count") (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (global.get $calls))
  (func (export "minus") (param i32 i32) (result i32)
    (i32.sub (local.get 0) (local.get 1)))
  (func (export "upper_half") (param i64) (result i32)
    (i32.wrap_i64 (i64.shr_u (local.get 0) (i64.const 32))))
  (func (export "digits") (param i32 i64 i32 i64) (result i32)
    (i32.add
      (i32.add (i32.mul (local.get 0) (i32.const 1000))
               (i32.mul (i32.wrap_i64 (local.get 1)) (i32.const 100)))
      (i32.add (i32.mul (local.get 2) (i32.const 10)) (i32.wrap_i64 (local.get 3)))))
  (func (export "poke") (param i32 i32)
    (i32.store8 (local.get 0) (local.get 1)))
  (func (export "peek") (param i32) (result i32)
    (i32.load8_u (local.get 0)))
  (func (export "stop") (unreachable))
  (func $for_ever (export "recurse") (param i32) (result i32)
    (i32.add (call $for_ever (local.get 0)) (i32.const 1))))
""")
LARGE: Final = compiled(f'(module (memory (export "memory") {LARGE_PAGES}))')


def test_a_function_takes_its_arguments_and_returns_32_bits() -> None:
    instance = Instance(MODULE)
    minus, upper_half = instance.function("minus", 2), instance.function("upper_half", 1)
    assert minus(50, 8) == 42
    assert minus(0, 1) == 0xFFFF_FFFF
    assert minus(-1, -3) == 2
    assert upper_half(7 << 32 | 9) == 7
    assert upper_half(-1) == 0xFFFF_FFFF
    assert upper_half(2**63 - 1) == 0x7FFF_FFFF
    assert instance.function("digits", 4)(1, 2, 3, 4) == 1234


def test_a_function_of_nothing_is_called_as_well() -> None:
    count = Instance(MODULE).function("count", 0)
    assert [count(), count(), count()] == [1, 2, 3]


def test_the_memory_is_the_modules_own() -> None:
    instance = Instance(MODULE)
    poke, peek = instance.function("poke", 2), instance.function("peek", 1)
    assert len(instance.memory) == PAGE_BYTES
    assert instance.memory.format == "B"
    poke(PAGE_BYTES - 1, 77)
    instance.memory[5] = 200
    assert instance.memory[PAGE_BYTES - 1] == 77
    assert peek(5) == 200
    assert ctypes.string_at(instance.base + 5, 1) == b"\xc8"


def test_each_instance_has_a_memory_and_globals_of_its_own() -> None:
    one, other = Instance(MODULE), Instance(MODULE)
    one.function("poke", 2)(5, 99)
    one.function("count", 0)()
    assert one.base != other.base
    assert (one.memory[5], other.memory[5]) == (99, 0)
    assert other.function("count", 0)() == 1


def test_what_is_not_exported_is_no_function() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        Instance(MODULE).function("nowhere", 1)


def test_a_function_that_was_stopped_works_again() -> None:
    peek = Instance(MODULE).function("peek", 1)
    with pytest.raises(RuntimeError):
        peek(PAGE_BYTES * 1000)
    assert peek(5) == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stop", ()),
        ("peek", (PAGE_BYTES,)),
        ("poke", (-1, 7)),
        ("recurse", (3,)),
    ],
)
def test_what_traps_is_told_with_its_arguments(name: str, arguments: tuple[int, ...]) -> None:
    instance = Instance(MODULE)
    with pytest.raises(RuntimeError) as told:
        instance.function(name, len(arguments))(*arguments)
    assert str(told.value) == f"{name}{arguments} was stopped by Wasmtime"
    # and the others go on
    assert instance.function("count", 0)() == 1


@pytest.mark.parametrize(
    ("binary", "what"),
    [
        (b"", "compile"),
        (b"no module", "compile"),
        (MODULE[:-1], "compile"),
        (compiled('(module (import "a" "b" (func)))'), "start"),
        (compiled("(module (func $f (unreachable)) (start $f))"), "start"),
    ],
)
def test_a_module_that_is_none_is_told(binary: bytes, what: str) -> None:
    with pytest.raises(LatbenchError, match=f"Wasmtime can't {what} latbench's module") as told:
        Instance(binary)
    assert told.value.hint == "reinstall latbench"


# --- how long one lasts


def virtual_bytes() -> int:
    """How much of its addresses this process uses."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_one_takes_no_more_addresses_than_its_memory_and_gives_them_back() -> None:
    Instance(LARGE)  # what the first leaves behind for good
    before = virtual_bytes()
    one = Instance(LARGE)
    assert len(one.memory) == LARGE_PAGES * PAGE_BYTES
    # Wasmtime would set 4 GiB aside, and 2 for it to grow
    assert virtual_bytes() - before < ALLOWED_BYTES
    del one
    for _ in range(50):
        Instance(LARGE)  # 64 MiB each
    assert virtual_bytes() - before < ALLOWED_BYTES


def test_batches_made_one_after_another_do_not_pile_up() -> None:
    RelayBatch("5f1c09ab", 0), ConsumerBatch("5f1c09ab")
    before = virtual_bytes()
    for i in range(60):
        RelayBatch(f"{i:08x}", 0), ConsumerBatch(f"{i:08x}")  # 22 MiB each
    assert virtual_bytes() - before < ALLOWED_BYTES


def test_nothing_but_its_functions_holds_one() -> None:
    instance = Instance(MODULE)
    peek, ended = instance.function("peek", 1), weakref.ref(instance)
    instance.memory[9] = 3
    del instance
    assert ended() is not None
    assert peek(9) == 3
    del peek
    gc.collect()
    assert ended() is None


# --- where the library lies


def test_it_is_available_here() -> None:
    path = wasm.library_path()
    assert path is not None
    assert path.is_file()
    assert wasm.is_available()


def on(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)


@pytest.mark.parametrize(
    ("system", "machine", "place"),
    [
        ("linux", "x86_64", "linux-x86_64/_libwasmtime.so"),
        ("linux", "AMD64", "linux-x86_64/_libwasmtime.so"),
        ("linux", "aarch64", "linux-aarch64/_libwasmtime.so"),
        ("darwin", "arm64", "darwin-aarch64/_libwasmtime.dylib"),
        ("darwin", "x86_64", "darwin-x86_64/_libwasmtime.dylib"),
    ],
)
def test_each_platform_has_its_own_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, machine: str, place: str
) -> None:
    package = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: package)
    on(monkeypatch, system, machine)
    assert not wasm.is_available()  # a package without it
    path = tmp_path / place
    path.parent.mkdir()
    path.touch()
    assert wasm.library_path() == path
    monkeypatch.setattr(ctypes, "sizeof", lambda _type: 4)  # a 32-bit Python on that machine
    assert not wasm.is_available()


@pytest.mark.parametrize(
    ("system", "machine"), [("linux", "riscv64"), ("freebsd14", "amd64"), ("linux", "")]
)
def test_where_there_is_none_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    on(monkeypatch, system, machine)
    monkeypatch.setattr(wasm, "_library", functools.cache(wasm._library.__wrapped__))
    assert wasm.library_path() is None
    assert not wasm.is_available()
    with pytest.raises(LatbenchError, match=f"no library for {system} on {machine}") as told:
        RelayBatch("5f1c09ab", 0)
    assert "--no-compiled" in told.value.hint


@pytest.mark.parametrize("found", [None, SimpleNamespace(origin=None)])
def test_it_is_not_available_without_the_package(
    monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: found)
    assert wasm.library_path() is None
    assert not wasm.is_available()


def test_the_packages_own_classes_are_not_imported() -> None:
    """They take 70 ms, in each of three processes of a run."""
    code = (
        "import sys; from latbench.batch.ticks import RelayBatch; RelayBatch('5f1c09ab', 0);"
        "sys.exit('wasmtime' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
