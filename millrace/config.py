"""Every setting of every process, as `millrace config` shows it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from millrace.errors import ProcessFault

PACKAGES = ("millrace", "ingest_gateway", "streams", "sinks", "console")


@dataclass(frozen=True)
class Config:
    """settings: rows of process, env, value, default, source, meaning.  faults: one line each."""

    settings: list[dict[str, str]]
    faults: list[str]


def collect(packages: Sequence[str] = PACKAGES) -> Config:
    """The settings of all processes; what several share is listed once, under the process "all"."""
    rows: dict[str, dict[str, str]] = {}
    faults: dict[str, str] = {}
    for package in packages:
        shown = _ask(package)
        for fault in shown["faults"]:
            faults.setdefault(fault.split(": ", 1)[-1], fault)  # a shared setting is at fault once
        for row in shown["settings"]:
            known = rows.setdefault(row["env"], row)
            if known["process"] != row["process"]:
                known["process"] = "all"
    for name in sorted(os.environ):
        if name.startswith("MILLRACE_") and name not in rows:
            faults[name] = f"millrace: {name} is no setting of Millrace"
    return Config(settings=list(rows.values()), faults=list(faults.values()))


def table(config: Config) -> str:
    """The settings as text: one block for each process."""
    width = max(len(row["env"]) for row in config.settings)
    lines: list[str] = []
    processes = list(dict.fromkeys(row["process"] for row in config.settings))
    for process in processes:
        lines += ["", f"# {process}"]
        for row in config.settings:
            if row["process"] != process:
                continue
            default = "" if row["source"] == "default" else f" (default: {row['default'] or 'none'})"
            lines.append(f"{row['env']:{width}}  {row['value'] or '-'}{default}")
            lines.append(f"{'':{width}}  {row['meaning']}")
    return "\n".join(lines[1:]) + "\n"


def _ask(package: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "service.show_settings", package], capture_output=True, text=True, check=False
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["?"]
        raise ProcessFault(
            f"the settings of {package} cannot be read ({lines[-1]})", "is Millrace installed whole? (make clean run)"
        )
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown
