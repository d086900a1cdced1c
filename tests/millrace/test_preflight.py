import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from millrace import preflight
from millrace.errors import FolderFault, PortTaken, PortTwice


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


def test_a_new_folder_is_its_owner_s_alone_and_an_open_one_is_named_with_the_cure(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    with preflight.data_folder(new, free_min_mb=1):
        assert stat.S_IMODE(new.stat().st_mode) == 0o700
        assert preflight.exposure(new) is None
    old.mkdir()
    old.chmod(0o750)
    with preflight.data_folder(old, free_min_mb=1):
        assert stat.S_IMODE(old.stat().st_mode) == 0o750
        assert preflight.exposure(old) == (
            f"data folder {old} holds keys and content and is open to other users (mode 0750): chmod 700 {old}"
        )


def test_a_running_stack_is_known_by_its_lock(tmp_path: Path) -> None:
    assert preflight.stack_runs(tmp_path) is None
    with preflight.data_folder(tmp_path, free_min_mb=1):
        assert preflight.stack_runs(tmp_path) is True
        assert preflight.holder(tmp_path) == os.getpid()
    assert preflight.stack_runs(tmp_path) is False
    assert preflight.holder(tmp_path) is None


def test_a_port_that_is_set_twice_names_both_settings() -> None:
    wanted = [("SQL", 8081, "MILLRACE_SQL_PORT"), ("Kafka", 9092, "MILLRACE_KAFKA_PORT")]
    with pytest.raises(PortTwice) as raised:
        preflight.ports([*wanted, ("OTLP over HTTP", 8081, "MILLRACE_GATEWAY_HTTP_PORT")])
    assert str(raised.value) == (
        "port 8081 is set for SQL (MILLRACE_SQL_PORT) and for OTLP over HTTP (MILLRACE_GATEWAY_HTTP_PORT): "
        "set one of them to another port"
    )


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
