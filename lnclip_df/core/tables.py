"""Tables as Markdown, as aligned text and as CSV, and numbers as tables show them."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.escapes import Markdown, markdown
from lnclip_df.core.files import write_text

MISSING = "–"  # in a cell without a value

DELIMITERS = (",", ";", "\t")
FORMULA = re.compile(r"'*[=+\-@]")  # the start of a cell that a spreadsheet may compute; a "'" makes it text

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

    Text that a spreadsheet would compute gets a ``'`` before it, which ``read_csv`` removes; control characters are
    escaped.

    >>> csv_text([["a", "b"], [0.5, None], ["=1+1", "-0.5"]])
    "a,b\\n0.500000,\\n'=1+1,-0.5\\n"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            f"{cell:.{digits}f}" if digits is not None and isinstance(cell, float) else _as_text(cell) for cell in row
        )
    return text.getvalue()


def write_csv(path: str | Path, rows: Rows, digits: int | None = 6):
    """Write rows as a CSV file (see ``csv_text``), whole or not at all."""
    write_text(path, csv_text(rows, digits))


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, as spreadsheets save it.

    Raises:
        LNCLIPError: the file cannot be read, or is in another encoding.
    """
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LNCLIPError(f"{path}: line {line} is not UTF-8 ({error.reason}); save it as text in UTF-8") from error
    if "\0" in text:  # of UTF-16 without its mark, every second byte
        line = text[: text.index("\0")].count("\n") + 1
        raise LNCLIPError(f"{path}: line {line} has a NUL character, which no text has; save it as text in UTF-8")
    return text


def delimiter_of(text: str) -> str:
    """What separates the columns of a table: the one of comma, semicolon and tab that its header has most.

    >>> delimiter_of("video;label\\na,b;1"), delimiter_of("video")
    (';', ',')
    """
    header = text.lstrip().partition("\n")[0]
    return max(DELIMITERS, key=header.count)


def csv_rows(path: str | Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line and the cells of each row of a table's text, the header first.

    The columns are separated as ``delimiter_of`` says. Blanks around cells and rows without any cell's text are left
    out. A column without a name is named by its index (``column9``, from 0). ``path`` is for the errors.

    Raises:
        LNCLIPError: the text is no CSV, two columns have one name, or a row has more or fewer cells than the header.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    columns = None
    try:
        for cells in reader:
            cells = [_without_escape(cell.strip()) for cell in cells]
            if not any(cells):
                continue
            if columns is None:
                cells = [name or f"column{index}" for index, name in enumerate(cells)]
                refuse_repeated(path, "column", cells)
                columns = len(cells)
            elif len(cells) != columns:
                raise LNCLIPError(f"{path}: line {reader.line_num} has {len(cells)} cells, not {columns}; fix the file")
            yield reader.line_num, cells
    except csv.Error as error:
        raise LNCLIPError(f"{path}: line {reader.line_num} is not CSV: {error}; fix the file") from error


def read_csv(path: str | Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file with a header, in any form that spreadsheets write: one dict per row; see ``read_columns``."""
    return [row for _, row in numbered_rows(path, needed)]


def numbered_rows(path: str | Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The number of the line of each row, and the row as ``read_csv`` gives it."""
    header, rows = _header_and_rows(path, needed)
    return [(line, dict(zip(header, cells, strict=True))) for line, cells in rows]


def read_columns(path: str | Path, needed: Sequence[str]) -> dict[str, Sequence[str]]:
    """Read a CSV file with a header, in any form that spreadsheets write: the cells of each column by its name.

    Args:
        path: the file; see ``read_text`` and ``csv_rows``.
        needed: columns that must be there.

    Raises:
        LNCLIPError: the file cannot be read, is no CSV, has no rows, lacks a needed column, has two columns of one
            name, or has a row whose number of cells is not the header's.
    """
    header, rows = _header_and_rows(path, needed)
    return dict(zip(header, zip(*(cells for _, cells in rows), strict=True), strict=True))


def _header_and_rows(path, needed):
    (_, header), *rows = list(csv_rows(path, read_text(path))) or [(0, [])]
    if not rows:
        raise LNCLIPError(f"{path} has no rows; expected a header with the columns {', '.join(needed)}, and rows")
    if missing := [name for name in needed if name not in header]:
        raise LNCLIPError(
            f"{path}: no column {', '.join(missing)}; needed are {', '.join(needed)}; it has {', '.join(header)}"
        )
    return header, rows


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


def _as_text(cell: Any) -> Any:
    """A cell that no spreadsheet computes and no terminal obeys; what is no text stays."""
    if not isinstance(cell, str):
        return cell
    cell = printable(cell)
    if not FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _without_escape(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell, 1) else cell


def _cells(rows: Rows) -> list[list[str]]:
    return [[markdown(cell if isinstance(cell, Markdown) else show(cell)) for cell in row] for row in rows]


def _padded(rows: Sequence[Sequence[str]], minimum: int = 0) -> list[list[str]]:
    widths = [max(minimum, *map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
