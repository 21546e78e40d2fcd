"""Notes when a latbench process gets where (`benchmarks/startup.py` puts this on PYTHONPATH).

Python imports a module of this name at its start. It wraps the functions in `PLACES` as soon as
their module is imported; each time one begins or ends, a line `MOMENT_NS PID WHAT` goes to the file
that `LATBENCH_MARKS` names. A place that this revision of latbench lacks is left out.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import time

PLACES = {
    "latbench.cli": [],
    "latbench.supervisor": [("run", "begins")],
    "latbench.processes": [
        ("Spare.__init__", "ends"),
        ("StageProcess.__init__", "ends"),
        ("StageProcess._take", "begins"),
    ],
    "latbench.stages.entry": [("_import_stage", "ends"), ("_first_words", "ends")],
    "latbench.broker": [("prepare_topic", "begins"), ("prepare_topic", "ends")],
    "latbench.spool": [("SpoolWriter.write_preface", "begins")],
}
FILE = os.open(os.environ["LATBENCH_MARKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def mark(what):
    os.write(FILE, f"{time.monotonic_ns()} {os.getpid()} {what}\n".encode())


def describe(name, args):
    """The place's name; of a message its type and sender, of a stage its name."""
    if name == "StageProcess._take":
        return f"{type(args[1]).__name__} {args[0].stage}"
    if name in {"Spare.__init__", "StageProcess.__init__"}:
        return f"started {args[1]}"
    if name in {"_import_stage", "_first_words"}:
        return f"{name} {sys.argv[1]}"
    return name


def wrap(module, name, when):
    holder = module
    *path, last = name.split(".")
    for part in path:
        holder = getattr(holder, part, None)
    inner = getattr(holder, last, None)
    if inner is None:
        return

    @functools.wraps(inner)
    def outer(*args, **kwargs):
        if when == "begins":
            mark(f"{describe(name, args)} {when}")
        try:
            return inner(*args, **kwargs)
        finally:
            if when == "ends":
                mark(f"{describe(name, args)} {when}")

    setattr(holder, last, outer)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname not in PLACES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for name, when in PLACES[fullname]:
                wrap(module, name, when)
            mark(f"{fullname} imported")

        spec.loader.exec_module = exec_module
        return spec


mark("python " + (sys.orig_argv[-1] if "LATBENCH_STAGE_FD" in os.environ else "cli"))
sys.meta_path.insert(0, Finder())
