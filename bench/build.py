"""Compiles the two C programs of the bench, into the git-ignored `build/bench`.

One rule: nothing is compiled twice unless its source has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent
_OUT = _HERE.parent / "build" / "bench"


class CannotBuild(Exception):
    """There is no C compiler, or it refused."""


def built(name: str) -> Path:
    """The program made of `bench/NAME.c`.

    Raises:
        CannotBuild: it cannot be made.
    """
    source, program = _HERE / f"{name}.c", _OUT / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotBuild("the bench needs a C compiler (apt-get install gcc libc6-dev)")
    _OUT.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler, "-O2", "-o", str(fresh), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotBuild(f"{compiler} refused {source.name}:\n{done.stderr}")
    fresh.replace(program)
    return program
