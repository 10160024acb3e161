"""Tables as Markdown, as aligned text and as CSV, and numbers as tables show them."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import write_text

MISSING = "–"  # in a cell without a value

Rows = Iterable[Sequence[Any]]


def show(value: Any, form: str = "") -> str:
    """A value formatted as ``form`` says, or ``MISSING`` for None.

    >>> show(0.25, "+.1f"), show("a"), show(None, ".1f")
    ('+0.2', 'a', '–')
    """
    return MISSING if value is None else format(value, form)


def percent(value: float | None, digits: int = 1) -> str:
    """A share 0..1 in %, without the sign; ``MISSING`` for None.

    >>> percent(0.9375), percent(0.9375, 2), percent(None)
    ('93.8', '93.75', '–')
    """
    return MISSING if value is None else f"{100 * value:.{digits}f}"


def p_text(p: float | None) -> str:
    """A p-value with two significant digits; below 0.0001 only the bound.

    >>> p_text(0.0123), p_text(3e-7), p_text(None)
    ('0.012', '< 0.0001', '–')
    """
    return "< 0.0001" if p is not None and p < 1e-4 else show(p, ".2g")


def markdown_table(rows: Rows) -> str:
    """A Markdown table of cells of any type, the first row its header; all columns but the first are flushed right.

    >>> print(markdown_table([["run", "AUROC"], ["a|b", None]]), end="")
    | run | AUROC |
    | --- | ---: |
    | a\\|b | – |
    """
    header, *cells = _cells(rows)
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *cells))


def aligned_markdown(rows: Rows) -> str:
    """A Markdown table whose columns are padded, so that a terminal shows them aligned.

    >>> print(aligned_markdown([["run", "AUROC"], ["a", 93.8]]), end="")
    | run | AUROC |
    | --- | ----- |
    | a   | 93.8  |
    """
    header, *cells = _padded(_cells(rows), minimum=3)
    rule = ["-" * len(cell) for cell in header]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *cells))


def aligned_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines whose columns are aligned by blanks.

    >>> aligned_lines([["a", "bc"], ["def", "g"]])
    ['a    bc', 'def  g']
    """
    return ["  ".join(row).rstrip() for row in _padded(rows)]


def csv_text(rows: Rows, digits: int | None = 6) -> str:
    """Rows of cells of any type as CSV; floats with so many decimals, or in full for None; a cell of None is empty.

    >>> csv_text([["a", "b"], [0.5, None]])
    'a,b\\n0.500000,\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            f"{cell:.{digits}f}" if digits is not None and isinstance(cell, float) else cell for cell in row
        )
    return text.getvalue()


def write_csv(path: str | Path, rows: Rows, digits: int | None = 6):
    """Write rows as a CSV file (see ``csv_text``), whole or not at all."""
    write_text(path, csv_text(rows, digits))


def read_csv(path: str | Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file with a header: one dict per row, of cells without surrounding blanks.

    Args:
        path: the file, UTF-8.
        needed: columns that must be there.

    Raises:
        LNCLIPError: the file is absent, is no CSV, has no rows, lacks a needed column, has two columns of one name, or
            has a row whose number of cells is not the header's.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            refuse_repeated(path, "column", reader.fieldnames or ())
            rows = list(reader)
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise LNCLIPError(f"{path} is not a CSV file: {error}") from error
    if not rows:
        raise LNCLIPError(f"{path} has no rows; expected a header with the columns {', '.join(needed)}, and rows")
    if missing := [name for name in needed if name not in rows[0]]:
        raise LNCLIPError(f"{path}: no column {', '.join(missing)}; it has {', '.join(filter(None, rows[0]))}")
    for number, row in enumerate(rows, 2):
        if "" in row or None in row.values():
            raise LNCLIPError(f"{path}: line {number} has more or fewer cells than the header")
    return [{name: cell.strip() for name, cell in row.items()} for row in rows]


def refuse_repeated(path: str | Path, what: str, names: Iterable[str]):
    """Raise an error where a name stands twice: it is not known which of the two is meant.

    Raises:
        LNCLIPError: it names the first such name.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise LNCLIPError(f"{path}: the {what} {name} is there twice; remove or rename one")
        seen.add(name)


def _cells(rows: Rows) -> list[list[str]]:
    """Text that cannot end a Markdown cell or row."""
    return [[" ".join(show(cell).split()).replace("|", "\\|") for cell in row] for row in rows]


def _padded(rows: Sequence[Sequence[str]], minimum: int = 0) -> list[list[str]]:
    widths = [max(minimum, *map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
