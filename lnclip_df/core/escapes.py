"""Text from data in each format that is written: it stays text. Control characters are shown as in a terminal.

``lnclip_df.core.errors.printable`` is that of terminals, and ``lnclip_df.core.tables.csv_text`` that of CSV.
"""

import re
from typing import TYPE_CHECKING

from lnclip_df.core.errors import printable

if TYPE_CHECKING:
    from markupsafe import Markup

# What Markdown takes for markup, where it does: a pair of brackets before a target, a tag, an entity, emphasis.
MARKDOWN = re.compile(r"[`*$|]|\\(?=[!-/:-@\[-`{-~])|\](?=[(\[:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|~(?=~)|(?<!\w)_|_(?!\w)")
TEX = str.maketrans(
    {
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "<": "\\textless{}",
        ">": "\\textgreater{}",
        "–": "--",
        "×": "$\\times$",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


class Markdown(str):
    """Text that is Markdown already."""


def markdown(value: object) -> str:
    """A value as Markdown's plain text in one line; a ``Markdown`` is returned unchanged.

    >>> print(markdown("a_b|<b>[x](y) < 0.01 [1, 2]"))
    a_b\\|&lt;b>[x\\](y) < 0.01 [1, 2]
    """
    if isinstance(value, Markdown):
        return value
    text = printable(" ".join(str(value).split()))
    return MARKDOWN.sub(lambda found: "&lt;" if found[0] == "<" else f"\\{found[0]}", text)


def tex(value: object) -> str:
    """A value as LaTeX's plain text.

    >>> print(tex("$a_1"))
    \\$a\\_1
    """
    return printable(str(value)).translate(TEX)


def html(value: object) -> "Markup":
    """A value as HTML text; what a template made is returned unchanged. For the ``finalize`` of a Jinja2 environment.

    >>> html("<b>")
    Markup('&lt;b&gt;')
    """
    from markupsafe import Markup, escape

    return value if isinstance(value, Markup) else escape(printable(str(value)))
