"""What a shell command runs, and what host a URL names. Total: any text gives an answer or None, in linear time.

A reading, not a shell: nothing is expanded, and a command that hides its program (`$CMD`, `eval`) hides it here too.
Written for this: shlex reads a character at a time in Python (100 times slower), fails on an open quote and knows
neither wrappers nor Windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from urllib.parse import unquote, urlsplit

# The program stands near the start; what follows can be a whole file (`cat <<EOF`).
_READ_MAX = 4096
_TOKENS_MAX = 200
_NAME_MAX = 256
_HOST_MAX = 253

# A word of plain, escaped and quoted parts; an open quote counts as a letter. Every part is possessive: linear.
# `(…)` is a part only where it is the list of an assignment.
_LIST = r"""(?<==)\((?:[^()'"]|'[^']*+'|"[^"]*+"|\([^()]*+\))*+\)"""
_WORD = rf"""(?:[^\s;&|()<>'"\\`]++|\\.|'[^']*+'|"(?:[^"\\]|\\.)*+"|`[^`]*+`|['"\\`]|{_LIST})++"""
_TOKEN = re.compile(
    r"(?P<end>&&|\|\|?&?|;;?|[&()\n])|(?P<to>[0-9]*(?:<<<|<<-?|<>|<&|>>|>&|>\||&>>?|<|>))|(?P<skip>\#[^\n]*|\\\n)"
    rf"|(?P<word>{_WORD})",
    re.DOTALL,
)
_PART = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\[[^\]]*\])?\+?=")
_WINDOWS = re.compile(r"""["']?(?:[A-Za-z]:\\|\.{1,2}\\|\\\\|%[A-Za-z_]+%\\)""")
# Most commands: a bare name and nothing before it.
_BARE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]*+(?=[ ;|&()]|\Z)")
_HOST = re.compile(r"(?:localhost|[\w-]+(?:\.[\w-]+)+)(?=[:/?#]|\Z)")
_WEB = re.compile(r"(?:https?|wss?|ftp):(?=.)", re.IGNORECASE | re.DOTALL)
# What browsers take off both ends; and what is no host for them, nor may be a part of one.
_EDGES = re.compile(r"\A[\x00-\x20]++|[\x00-\x20]++\Z")
_NAMED = re.compile(r"[^\x00-\x20\x7f\"#%/<>?@\\^`{|}]+")
_DIGITS = re.compile(r"[0-9.]+[smhd]?")
_SUFFIXES = (".exe", ".cmd", ".bat", ".com")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What only prepares the command that follows it; the answer when none follows.
_PREPARES = _words("cd pushd popd export set unset alias umask ulimit shopt source . : true local declare [ [[ test")
_RESERVED = _words("if then elif else while until do ! { }")
_LOOPS = _words("for select")
_UNREAD = _words("case function coproc")
# What runs the rest of its words → its options that take a word of their own.
_WRAPPERS: dict[str, frozenset[str]] = {
    "sudo": _words("-u -g -h -p -C -r -t -T -U -D -R --user --group --host --prompt --chdir"),
    "doas": _words("-u -C"),
    "env": _words("-u -C --unset --chdir"),
    "nice": _words("-n --adjustment"),
    "ionice": _words("-c -n"),
    "timeout": _words("-k -s --kill-after --signal"),
    "stdbuf": _words("-i -o -e"),
    "exec": _words("-a"),
    "nohup": _words(""),
    "setsid": _words(""),
    "command": _words(""),
    "builtin": _words(""),
    "caffeinate": _words("-t -w"),
}
_TIME = _words("-o -f --output --format")
_SPLIT = re.compile(r"-[0iv]*S|--split-string(?:=|\Z)")
_SPECIAL = frozenset(("time",)) | _PREPARES | _RESERVED | _LOOPS | _UNREAD | frozenset(_WRAPPERS)


def executable(command: str) -> str | None:
    """Name of the program that a shell command runs first.

    Passed over: `cd x &&` and its like, assignments, redirections, brackets, and sudo, env, timeout and other programs
    that run what follows them. /usr/bin/git and C:\\Git\\git.exe are git.
    A shell's own -c is not read: `bash -c x` is bash; but `env -S 'git x'` is git.

    Returns: None where the text names none, or hides it behind an expansion.
    """
    if (bare := _BARE.match(command)) is not None and len(bare[0]) <= _NAME_MAX and bare[0] not in _SPECIAL:
        return bare[0]
    prepared: str | None = None
    wrapper: str | None = None
    options: frozenset[str] | None = None  # of the wrapper, or of `time`; None where none can come
    # What the next words are: "" a command, "argument" of an option, "split" a command in one word, "target" of a
    # redirection, "rest" of a command that only prepares, "loop" the head of one.
    state = before = ""
    for kind, word in _tokens(command):
        if state == "target":
            state = before
        elif kind == "to":
            before, state = state, "target"
        elif kind == "end":
            if wrapper is not None:
                return wrapper
            state, options = "loop" if state == "loop" else "", None
        elif state in ("rest", "loop"):
            state = "" if state == "loop" and word == "do" else state
        elif state == "argument":
            state = ""
        elif state == "split":
            return executable(_unquoted(word)) or wrapper
        elif options is not None and word.startswith("-"):
            if wrapper == "command" and word in ("-v", "-V"):
                return wrapper
            if wrapper == "env" and (split := _SPLIT.match(word)) is not None:
                if split.end() < len(word):
                    return executable(_unquoted(word[split.end() :])) or wrapper
                state = "split"
                continue
            state = "argument" if word in options else ""
        elif _ASSIGNMENT.match(word) or word in _RESERVED or (wrapper == "timeout" and _DIGITS.fullmatch(word)):
            continue
        elif word in _LOOPS:
            state = "loop"
        elif word in _UNREAD:
            return None
        else:
            name = _name(word)
            if name in _PREPARES and wrapper is None:
                prepared, state = prepared or name, "rest"
            elif name in _WRAPPERS:
                wrapper, options = name, _WRAPPERS[name]
            elif name == "time":
                options = _TIME
            else:
                return name
    return wrapper or prepared


def _tokens(command: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each token, in order; line breaks are ends."""
    for match in islice(_TOKEN.finditer(command[:_READ_MAX]), _TOKENS_MAX):
        kind = match.lastgroup
        if kind and kind != "skip":
            yield kind, match[0]


def _unquoted(word: str) -> str:
    return _PART.sub(lambda m: m[1] or m[2] or m[3] or "", word)


def _name(word: str) -> str | None:
    """The program that a word names: unquoted, without folder and Windows' suffix."""
    if _WINDOWS.match(word):
        name = word.replace("\\", "/").strip("\"'")
    elif "'" in word or '"' in word or "\\" in word:
        name = _unquoted(word)
    else:
        name = word
    name = name.rstrip("/").rpartition("/")[2]
    if name.lower().endswith(_SUFFIXES):
        name = name[:-4]
    if not name or len(name) > _NAME_MAX or "$" in name or "`" in name or not name.isprintable():
        return None
    return name


def host(url: str) -> str | None:
    """Host that a URL names, as a browser reads it: in lower case and ASCII (IDNA), without user, password and port.

    Returns: None where it names none.
    """
    url = _EDGES.sub("", url)
    web = _WEB.match(url)
    if web is not None:
        # There a \\ is a /, and any number of them, none too, stands before the host.
        url = "//" + url[web.end() :].replace("\\", "/").lstrip("/")
    elif "://" not in url[:64]:
        if _HOST.match(url) is None:
            return None
        url = "//" + url
    try:
        found = urlsplit(url).hostname
        if found and "%" in found and ":" not in found:
            found = unquote(found, errors="strict").lower()
        if found and not found.isascii() and len(found) <= _HOST_MAX:
            found = found.encode("idna").decode("ascii").lower()
    except ValueError:  # UnicodeError is one
        return None
    found = (found or "").removesuffix(".")
    return found if len(found) <= _HOST_MAX and _NAMED.fullmatch(found) else None
