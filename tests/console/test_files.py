"""The files of the console: what is others' is pinned and licensed, and a wheel has all of them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "console" / "static" / "vendor"
MANIFEST = "versions.json"


def pinned() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((VENDOR / MANIFEST).read_text())
    return found


def test_every_vendored_file_is_named_in_the_manifest() -> None:
    listed = {one["file"] for one in pinned()} | {name for one in pinned() for name in one["license_files"]}
    assert {path.name for path in VENDOR.iterdir()} == listed | {MANIFEST}


@pytest.mark.parametrize("one", pinned(), ids=lambda one: one["name"])
def test_a_vendored_file_is_the_pinned_one_with_its_licence(one: dict[str, str]) -> None:
    assert hashlib.sha256((VENDOR / one["file"]).read_bytes()).hexdigest() == one["sha256"]
    assert one["version"] in one["file"]
    assert one["package"].endswith(f"@{one['version']}")
    words = {"Apache-2.0": "Apache License", "0BSD": "Zero-Clause BSD", "MIT": "Permission is hereby granted"}
    assert one["license_files"]
    assert words[one["license"]] in (VENDOR / one["license_files"][0]).read_text()


def test_no_file_of_ours_asks_anybody_else_for_anything() -> None:
    """Addresses in texts are fine; what a browser would load is not."""
    ours = [
        p for p in (ROOT / "console").rglob("*") if p.suffix in (".html", ".css", ".js") and VENDOR not in p.parents
    ]
    assert ours
    loads = re.compile(
        r"""(?:src|srcset|action|hx-get|hx-post|import|url\(|fetch\()\s*=?\s*\(?["']?(?:https?:)?//|<link[^>]+href=["']?(?:https?:)?//"""
    )
    assert [str(path.relative_to(ROOT)) for path in ours if loads.search(path.read_text())] == []


def test_a_wheel_has_every_file_of_the_console(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("console/")}
    there = {str(p.relative_to(ROOT)) for p in (ROOT / "console").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert inside == there
