"""What `make test` does about the browser that the console's tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDED = ("sh", "mktemp", "rm", "tail", "timeout")


class Machine:
    """A PATH of our own: what stands in it is all that make finds."""

    def __init__(self, folder: Path, *, root: bool) -> None:
        self.folder = folder
        folder.mkdir()
        for name in NEEDED:
            os.symlink(shutil.which(name) or name, folder / name)
        self.program("id", f"echo {0 if root else 1000}")

    def program(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / name).chmod(0o755)

    def make(self) -> str:
        """What `make browser` says; it must never fail."""
        make = shutil.which("make")
        assert make is not None
        environment = {"PATH": str(self.folder), "TMPDIR": str(self.folder)}
        done = subprocess.run(
            [make, "-C", str(ROOT), "--no-print-directory", "browser"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def test_with_a_browser_nothing_is_done(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "bin", root=True)
    machine.program("chromium", "exit 1")
    machine.program("apt-get", "echo no >&2; exit 1")
    assert machine.make() == ""


def test_root_on_debian_gets_one_without_being_asked(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "bin", root=True)
    machine.program("apt-get", f'echo "$@" >> {tmp_path}/asked')
    said = machine.make()
    assert said.startswith("installing Chromium")
    assert "skipped" not in said
    update, install = (tmp_path / "asked").read_text().splitlines()
    assert update.endswith("update")
    assert install.endswith("install chromium")


@pytest.mark.parametrize("root", [True, False])
def test_without_one_the_tests_are_skipped_and_it_is_said_how_to_get_one(tmp_path: Path, root: bool) -> None:
    machine = Machine(tmp_path / "bin", root=root)
    machine.program("apt-get", "echo 'E: no network' >&2; exit 100")
    said = machine.make()
    assert ("E: no network" in said) == root
    assert "are skipped. Install one" in said
    assert "MILLRACE_TEST_CHROMIUM" in said
