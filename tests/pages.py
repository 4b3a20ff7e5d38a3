"""The pages that users read, taken apart: links, headings, code."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]
COMMAND = re.compile(r"\$\(hasse (?P<inner>[^)]*)\)|(?:^|\s)hasse (?P<whole>.*)")
COMMENT = re.compile(r"(^|\s)#\s.*")


@dataclass(frozen=True)
class Page:
    """One page. code: blocks; words: what stands in code font inside of a sentence."""

    path: Path

    @cached_property
    def _tokens(self) -> list[Token]:
        return MarkdownIt("commonmark").enable("table").parse(self.path.read_text())

    def _inline(self) -> Iterator[Token]:
        for token in self._tokens:
            yield from token.children or ()

    def links(self) -> set[str]:
        """Relative ones, and the sources of pictures."""
        found = [t.attrs.get("href") or t.attrs.get("src") for t in self._inline()]
        return {str(link) for link in found if link and "://" not in str(link)}

    def anchors(self) -> set[str]:
        tokens = self._tokens
        titles = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    def code(self) -> list[str]:
        return [token.content for token in self._tokens if token.type in ("code_block", "fence")]

    def words(self) -> set[str]:
        return {token.content for token in self._inline() if token.type == "code_inline"}

    def commands(self) -> list[list[str]]:
        """The arguments of each command `hasse` in a block of code."""
        lines = [line for block in self.code() for line in block.replace("\\\n", " ").splitlines()]
        found = [
            match["inner"] or match["whole"]
            for line in lines
            if (match := COMMAND.search(re.sub(r"(^|\s)#\s.*", "", line)))
        ]
        return [shlex.split(text) for text in found]


ALL = [Page(path) for path in PAGES]
