import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from millrace import preflight
from millrace.errors import FolderFault, PortTaken


def test_one_folder_serves_one_stack(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from millrace import preflight\n"
        "try:\n"
        "    with preflight.data_folder(pathlib.Path(sys.argv[1]), free_min_mb=1): print('mine')\n"
        "except Exception as error: print(error)\n"
    )
    second = [sys.executable, "-c", code, str(tmp_path)]
    with preflight.data_folder(tmp_path, free_min_mb=1):
        refused = subprocess.run(
            second, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
        ).stdout
    assert refused == (
        f"data folder {tmp_path} is in use by another stack (process {os.getpid()}): "
        "stop that one, or set MILLRACE_DATA to another folder\n"
    )
    with preflight.data_folder(tmp_path, free_min_mb=1):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(FolderFault, match=r"cannot be written \(Not a directory\): set MILLRACE_DATA"),
        preflight.data_folder(tmp_path / "file" / "data", free_min_mb=1),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that refuses writes, root's too")
def test_a_read_only_folder_is_named() -> None:
    with (
        pytest.raises(FolderFault, match="/proc cannot be written"),
        preflight.data_folder(Path("/proc"), free_min_mb=1),
    ):
        pass


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(FolderFault, match=r"is on a full disk \(\d+ MiB free, 1000000000000 MiB needed\): free space"),
        preflight.data_folder(tmp_path, free_min_mb=10**12),
    ):
        pass


def test_a_taken_port_is_named_with_the_setting_that_changes_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken) as raised:
            preflight.ports([("SQL", port, "MILLRACE_SQL_PORT")])
    assert str(raised.value) == (
        f"port {port} for SQL is taken by another process: stop that process, or set MILLRACE_SQL_PORT to a free port"
    )
