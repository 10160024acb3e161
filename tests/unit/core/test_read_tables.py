"""One reader for every table: what spreadsheets write is read, and what is ambiguous is refused in one line."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.tables import csv_text, numbered_rows, read_csv, read_text

ROWS = [{"video": "Zoë/a, b", "label": "1"}, {"video": "c", "label": ""}]
COMMAS = 'video,label\n"Zoë/a, b",1\n\nc,\n'
SEMICOLONS = "video;label\r\n Zoë/a, b ;1\r\nc;\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [COMMAS, SEMICOLONS, SEMICOLONS.replace(";", "\t")])
def test_a_table_is_read_however_a_spreadsheet_saved_it(tmp_path, text, encoding):
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert read_csv(tmp_path / "a.csv", ["video", "label"]) == ROWS


def test_utf16_of_either_order_is_read(tmp_path):
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        (tmp_path / "a.csv").write_bytes(mark + COMMAS.encode(encoding))
        assert read_text(tmp_path / "a.csv") == COMMAS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "video,label\na,1\nZoë,0\n".encode("latin-1"),
            r"a\.csv: line 3 is not UTF-8 \(.*\); save it as text in UTF-8",
        ),
        ("vidéo,label\n".encode("latin-1"), r"line 1 is not UTF-8"),
        (codecs.BOM_UTF16_LE + b"a", r"line 1 is not UTF-8"),
        (COMMAS.replace("ë", "e").encode("utf-16-le"), r"line 1 has a NUL character.*; save it as text in UTF-8"),
        (COMMAS.encode("utf-32"), r"line 1 has a NUL character"),
        (b"video,label,video\na,1,b\n", "the column video is there twice"),
        (b"video,label\na\n", r"line 2 has 1 cells, not 2"),
        (b'video,label\n"a,1\n', r"line 2 is not CSV"),
        (b"video,label\n", "has no rows"),
        (b"\n\n", "has no rows"),
        (b"a,b\n1,2\n", "no column video, label; needed are video, label; it has a, b"),
        (b"x" * 200_000 + b",video\n1,2\n", r"line 0 is not CSV|line 1 is not CSV"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, data, message):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(LNCLIPError, match=message) as caught:
        read_csv(tmp_path / "a.csv", ["video", "label"])
    assert len(str(caught.value)) <= 600


def test_rows_that_a_spreadsheet_leaves_empty_are_left_out_and_lines_are_those_of_the_file(tmp_path):
    (tmp_path / "a.csv").write_text(',\nvideo,label\n\n"a\nb",1\n , \nc,0\n,\n')
    rows = numbered_rows(tmp_path / "a.csv", ["video", "label"])
    assert rows == [(5, {"video": "a\nb", "label": "1"}), (7, {"video": "c", "label": "0"})]


@pytest.mark.parametrize("cell", ["=1+1", "+x", "-a", "@b", "'=1", "''@", '=HYPERLINK("http://a","b")'])
def test_a_cell_is_no_formula_and_comes_back(tmp_path, cell):
    text = csv_text([["video"], [cell]])
    assert text.splitlines()[1].lstrip('"').startswith("'")
    (tmp_path / "a.csv").write_text(text)
    assert read_csv(tmp_path / "a.csv", ["video"]) == [{"video": cell}]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1))
def test_every_name_comes_back_from_a_table_as_a_terminal_shows_it(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(csv_text([["video", "label"], [name, 1]]), encoding="utf-8")
    assert read_csv(path, ["video"]) == [{"video": printable(name), "label": "1"}]
