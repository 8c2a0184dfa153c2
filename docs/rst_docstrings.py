"""Lets mkdocstrings render the package's docstrings, which are reStructuredText, as Markdown."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|meth|func|data|attr|mod|exc):`(~)?([^`]+)`")
CODE = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:\1 {4}.*\n?|\s*\n)+)", re.MULTILINE)
FIELD = re.compile(r":(?:param|returns?|raises)\b")


def to_markdown(docstring: str) -> str:
    """Return a docstring with code in fences, names in place of references, and its fields (``:param …``) at the end.

    The parser takes all that follows a field for a part of it, also a paragraph or an example.
    """

    def code(found: re.Match[str]) -> str:
        fence = f"```{found[2]}\n{textwrap.dedent(found[3]).strip()}\n```\n"
        return textwrap.indent(fence, found[1])

    def name(found: re.Match[str]) -> str:
        return f"`{found[2].rpartition('.')[2] if found[1] else found[2]}`"

    text: list[str] = []
    fields: list[str] = []
    in_field = False
    for line in ROLE.sub(name, CODE.sub(code, f"{docstring}\n")).splitlines():
        in_field = bool(FIELD.match(line)) or (in_field and (not line or line.startswith(" ")))
        (fields if in_field else text).append(line)
    return "\n".join([*text, "", *fields]).strip()


class RstDocstrings(Extension):
    """Rewrites every docstring as it is loaded."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite one."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
