"""Hostile names, and strict parsers of the output formats."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import Any, Final
from xml.etree import ElementTree

NAMES: Final = (
    *(
        f"control-{chr(code)}-{code}"
        for code in (1, 7, 8, 9, 10, 11, 12, 13, 27, 28, 31, 127, 133, 155)
    ),
    *(f"none-{chr(code)}-{code}" for code in (0xFDD0, 0xFFFE, 0xFFFF, 0x1FFFE, 0x10FFFF)),
    *(f"line-{chr(code)}-{code}" for code in (0x2028, 0x2029, 0x85)),
    *(f"turn-{chr(code)}-{code}" for code in (0x200E, 0x200F, 0x202E, 0x2066, 0x2069, 0xFEFF)),
    'quotes-"\'`\\"-\\n\\',
    "crlf-\r\nSet-Cookie: a=b\r\n\r\n<p>",
    "forged\n2026-09-30 12:00:00,000 ERROR asu_stats: all is lost",
    "markup-<script>alert(1)</script>&amp;&#0;&#xFFFE;<![CDATA[x]]>-->",
    'attribute-" onload="alert(1)" x=\'',
    "template-{{ 7 * 7 }}{% raw %}${7*7}",
    '=HYPERLINK("http://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "-1",
    "@SUM(1)",
    "＝1",  # noqa: RUF001
    ",;|\t,",
    'label{a="b"} 1\n# TYPE x counter',
    "]]>",
    "\U0001f4a5\u0301\u0301\u200d",
    "percent-%0A%00%s%d%n",
    "x" * 255,
    "\U0001f4a5" * 255,
)
# What HTML takes for an error wherever it stands.
FORBIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_VOID: Final = {"meta", "link", "input", "img", "br", "rect", "polyline", "circle", "path"}


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a member is there twice"
    return dict(pairs)


def read_json(text: str) -> Any:
    """Read JSON as RFC 8259 has it: no NaN, no member twice, and no bytes that are not UTF-8."""
    text.encode()
    return json.loads(text, parse_constant=_refused, object_pairs_hook=_members)


def read_ndjson(content: bytes) -> list[Any]:
    """Read one value a line, whatever a reader takes for the end of a line."""
    text = content.decode()
    assert text.endswith("\n")
    assert len(text.splitlines()) == text.count("\n")
    return [read_json(line) for line in text.splitlines()]


def read_csv(text: str) -> list[dict[str, str]]:
    """Read a table as RFC 4180 has it; no cell is a formula."""
    assert text.endswith("\r\n")
    head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    for row in rows:
        assert len(row) == len(head), row
        for cell in row:
            is_number = re.fullmatch(r"-?\d+(\.\d+)?", cell)
            assert is_number or not cell.startswith(tuple("=+-@\t\r\n＝＋－＠")), cell  # noqa: RUF001
    return [dict(zip(head, row, strict=True)) for row in rows]


def read_xml(text: str) -> ElementTree.Element:
    """Read a well-formed document."""
    return ElementTree.fromstring(text)  # noqa: S314 - our own


class _Html(HTMLParser):
    """Takes HTML whose elements are closed in order, and whose attributes are there once."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        assert not any(name.startswith("on") or not name.isascii() for name in names), (tag, names)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}>"

    def handle_data(self, data: str) -> None:
        assert not self.open or self.open[-1] != "script" or not data.strip(), "inline script"
        self.text.append(data)


def read_html(text: str) -> str:
    """Read a page; return its text."""
    assert not FORBIDDEN.search(text)
    parser = _Html()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return "".join(parser.text)
