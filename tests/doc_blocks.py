"""The fenced blocks of README and docs: which are run, and what is checked of the others.

A comment directly above a block says what is done with it:
`<!-- not run: WHY -->` checks what it names instead; `<!-- started: TEXT -->` starts it and waits
until it prints TEXT, because it runs until it is stopped. A block without a comment is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<how>[a-z ]+): (?P<said>[^\n]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, kind (`sh`, `ini`, ...), text and the comment above it."""

    page: str
    line: int
    kind: str
    text: str
    how: str
    said: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> Iterator[list[str]]:
        """Its commands in words, without comments and without variables before them."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words:
                yield words


def pages() -> list[Path]:
    """README and every page of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, kind: str = "sh") -> list[Block]:
    """The blocks of that kind, in the order of the page."""
    text, name = path.read_text("utf-8"), str(path.relative_to(ROOT))
    return [
        Block(
            page=name,
            line=text.count("\n", 0, found.start("body")) + 1,
            kind=found["kind"],
            text=re.sub(rf"^{found['indent']}", "", found["body"], flags=re.MULTILINE),
            how=found["how"] or "",
            said=found["said"] or "",
        )
        for found in BLOCK.finditer(text)
        if found["kind"] == kind
    ]
