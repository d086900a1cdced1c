"""Reads what a PDF of Chromium says, as far as a test needs it: its sheets, and the words on them, in any order."""

from __future__ import annotations

import re
import zlib

_STREAM = re.compile(rb"(\d+) 0 obj\s*<<(.*?)>>\s*stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


def words(pdf: bytes) -> tuple[int, str]:
    """How many sheets, and the text on them, one piece of it a line.

    Glyphs are named by the tables ToUnicode of the fonts; where fonts disagree on a glyph, each is asked.
    """
    assert pdf.startswith(b"%PDF-"), pdf[:20]
    sheets = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
    streams = [
        zlib.decompress(body) if b"FlateDecode" in head else body
        for _, head, body in _STREAM.findall(pdf)
        if b"/Subtype /Image" not in head
    ]
    tables = [_table(stream) for stream in streams if b"beginbfchar" in stream or b"beginbfrange" in stream]
    pieces = []
    for stream in streams:
        for piece in re.findall(rb"BT\b(.*?)\bET\b", stream, re.DOTALL):
            shown = "".join(glyphs.decode() for glyphs in re.findall(rb"<([0-9A-Fa-f]+)>", piece))
            codes = [int(shown[at : at + 4], 16) for at in range(0, len(shown), 4)]
            pieces += ["".join(table.get(code, "") for code in codes) for table in tables]
    return sheets, "\n".join(pieces)


def _table(stream: bytes) -> dict[int, str]:
    found = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", stream, re.DOTALL):
        for code, text in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            found[int(code, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be")
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", stream, re.DOTALL):
        for first, last, text in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", block):
            for code in range(int(first, 16), int(last, 16) + 1):
                found[code] = chr(int(text, 16) + code - int(first, 16))
    return found
