"""Names from data stay text in every output: terminal, Markdown, HTML, LaTeX, CSV and plots."""

import csv
import re

import pytest
from commands import call
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.core.errors import printable
from lnclip_df.core.escapes import Markdown, html, markdown, tex
from lnclip_df.core.plots import figure_png, legend_text, new_figure
from lnclip_df.core.tables import markdown_table, read_csv

NAMES = [
    "\x1b[2J\x1b]0;owned\x07", "\x9b31mred", "a\u202eb", "a\u2028b", "=cmd|' C calc'!A0", "@SUM(1)", "[1in]", "* [1in]",
    "$\\input{/etc/passwd}$", "</td><script>alert(1)</script>", "![x](http://a/x.png)", "[x](javascript:alert(1))",
    "a|b\\|c", "`x`", "&lt;b&gt;", "__init__", "$\\frac{", "顔",
]  # fmt: skip
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


def write_run(path, dataset):
    rows = [["dataset", "video", "label", "prob", "method"]]
    for number in range(24):
        video = f"{NAMES[number % len(NAMES)]}/{number}"
        rows.append([dataset, video, number % 2, (number % 7) / 7, NAMES[number % 5] if number % 2 else ""])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name and name.isascii()])
def test_a_name_breaks_no_output_of_a_leaderboard(tmp_path, name):
    run = write_run(tmp_path / f"{name}.csv", name)
    out = tmp_path / "out"
    result = call("leaderboard", run, "--out", out, "--resamples", 20, "--metrics", "all")
    assert result.exit_code == 0, result.output
    texts = {path.name: path.read_text(encoding="utf-8") for path in out.iterdir() if path.suffix != ".png"}
    for where, text in (texts | {"terminal": result.stdout}).items():
        assert not CONTROL.search(text), where
    assert "<script" not in re.sub(r"<script>\n.*?</script>", "", texts["leaderboard.html"], flags=re.DOTALL)
    for where in ("leaderboard.md", "details.md"):
        assert not re.search(r"<[a-z/]|(?<!\\)`|(?<!\\)\$|(?<!\\)\]\(", texts[where]), where
    rows = texts["leaderboard.tex"].split("\\midrule")[1]
    assert "\\input" not in rows and not re.search(r"\\\\\s*[\[*]", texts["leaderboard.tex"])
    for where in ("leaderboard.csv", "figures.csv"):
        cells = [cell for row in csv.reader(texts[where].splitlines()) for cell in row]
        assert cells and not any(re.match(r"[=+@]|-[^\d]", cell) for cell in cells), where
    assert {row["run"] for row in read_csv(out / "figures.csv", ["run"])} == {printable(name)}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_formula_in_a_plot(name):
    figure = new_figure(3, 2)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], label=legend_text(name))
    panel.set_title(name)
    panel.set_yticks([0, 1], [name, "b"])
    panel.legend()
    assert figure_png(figure).startswith(b"\x89PNG")


@given(st.text())
def test_any_text_is_one_line_without_commands_in_every_format(text):
    for escaped in (printable(text), markdown(text), tex(text), html(text)):
        assert not CONTROL.search(escaped) and "\n" not in escaped
    assert "<" not in html(text) and not re.search(r"<[A-Za-z/!?]", markdown(text))
    plain = re.sub(r"\\(text\w+\{\}|[&%$#_{}])|\$\\times\$", "", tex(text))
    assert not set(plain) & set("\\$&%#_{}~^")
    assert len(markdown_table([["a", "b"], [text, "c"]]).splitlines()) == 3
    assert len(re.findall(r"(?<!\\)\|", markdown_table([["a", "b"], [text, "c"]]).splitlines()[2])) == 3


def test_what_is_markdown_already_stays():
    assert markdown(Markdown("**a** `b`")) == "**a** `b`"
    assert markdown_table([["a", "b"], ["x_y", Markdown("*1*")]]).splitlines()[2] == "| x_y | *1* |"
