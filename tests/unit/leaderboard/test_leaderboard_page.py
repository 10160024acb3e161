"""The leaderboard's page: it asks for nothing, escapes names, sorts and searches in a browser, and stays small."""

import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from runs import FF, write_dataset

from lnclip_df.core.files import write_json
from lnclip_df.datasets.pack import write_pack
from lnclip_df.leaderboard import make_board, write_board
from lnclip_df.leaderboard.page import page
from lnclip_df.leaderboard.text import terminal


class Elements(HTMLParser):
    """The elements that a browser makes at once (``shown``), and those that wait in templates (``folded``)."""

    def __init__(self, text):
        super().__init__()
        self.shown, self.folded, self.depth = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.depth += tag == "template"
        (self.folded if self.depth else self.shown).append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.depth -= tag == "template"


def columns(table):
    """The texts of the last row of a table's head."""
    heads = re.findall(r"<tr>(.*?)</tr>", table.partition("</thead>")[0], re.DOTALL)[-1]
    return re.findall(r"<button[^>]*>(.*?)</button>", heads)


def test_the_page_asks_for_nothing_and_escapes_names(board):
    text = (board[1] / "leaderboard.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bsrc=|\bhref=|<link|<img|<iframe|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in text and "\\n" not in text  # as which a line break within a text would be shown
    assert "<b>bad" not in text and "&lt;b&gt;bad" in text


@pytest.mark.slow
def test_every_format_has_the_means_beside_the_name_and_one_order_of_columns(runs, tmp_path):
    write_dataset(tmp_path / "run", "FaceForensics++", FF)  # few columns: the terminal does not transpose
    write_dataset(tmp_path / "own", "mine", ["a_real", "a_fake"], metadata={})
    for paths in ([*runs, tmp_path / "run"], [tmp_path / "own"]):
        board = make_board(paths, resamples=0)
        write_board(board, tmp_path / "out")
        read = {path.suffix: path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("leaderboard.*")}
        wanted = next(csv.reader(read[".csv"].splitlines()))
        assert wanted[:3] == ["run", "cross-dataset mean", "in-dataset mean"]
        assert [cell.strip() for cell in read[".md"].splitlines()[0].strip("| ").split("|")] == wanted
        tex = read[".tex"].partition("\\toprule\n")[2].partition(" \\\\")[0]
        assert [cell.replace("\\", "") for cell in tex.split(" & ")] == wanted
        assert columns(read[".html"]) == wanted
        turned = [line.strip("| ").split("|")[0].strip() for line in terminal(board).splitlines()]
        assert len(board.datasets) < 9 or turned[2:9] == [*wanted[1:8]]


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    value = np.array([int(digits[at : at + 2], 16) for at in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_text_can_be_read_in_light_and_in_dark(board):
    style = re.search(r"<style>(.*?)</style>", page(board[0]), re.DOTALL).group(1)
    themes = re.findall(r":root\{([^}]*)\}", style)
    assert len(themes) == 2 and "@media(prefers-color-scheme:dark)" in style
    for theme in themes:
        colours = {name: luminance(value) for name, value in re.findall(r"--([\w-]+):(#\w+)", theme)}
        pairs = [(text, back) for text in ("text", "soft", "accent", "up", "down") for back in ("back", "row", "head")]
        for text, back in [*pairs, ("back", "accent")]:
            low, high = sorted((colours[text], colours[back]))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, back)


@pytest.mark.slow
def test_two_hundred_runs_are_a_page_that_a_browser_draws_at_once(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for number in range(200):
        rows = ["dataset,video,label,prob"]
        for dataset in ("CDFv2", "DFDC", "KoDF"):
            scores = rng.random(40) * 0.7 + np.arange(40) % 2 * number / 700
            rows += [f"{dataset},{video},{video % 2},{score:.4f}" for video, score in enumerate(scores)]
        paths.append(tmp_path / f"run{number:03d}.csv")
        paths[-1].write_text("\n".join(rows))
    board = make_board(paths, resamples=0)
    text = page(board)
    elements = Elements(text)
    tags = [tag for tag, _ in elements.shown]
    assert len(text) < 1_000_000 and len(tags) < 200 * 40 and tags.count("tr") < 220 and "path" not in tags
    assert max(map(len, re.findall(r'="([^"]*)"', text))) < 2000  # no curve has thousands of points
    drawn = [attrs for tag, attrs in elements.folded if attrs.get("class", "").startswith("curve")]
    assert len(drawn) == 3 * 6 and {attrs["class"] for attrs in drawn} == {f"curve s{slot}" for slot in range(6)}
    assert len(board.comparisons) == 199 * 3 and {found.a for found in board.comparisons} == {board.best}
    means = {row.run.name: row.cross_dataset.auroc.value for row in board.rows}
    assert board.best == max(means, key=means.get)


@pytest.mark.slow
def test_published_rows_without_a_figure_here_are_folded(tmp_path):
    write_dataset(tmp_path / "run", "UADFV", ["a_real", "a_fake"])
    text = page(make_board([tmp_path / "run"], resamples=0))
    rows = re.findall(r'<tr class="(published[^"]*)"><th scope="row">(\S+)', text)
    assert len(rows) == 8 and {kind for kind, _ in rows} == {"published empty"}
    write_dataset(tmp_path / "run", "FFIW", ["b_real", "b_fake"])
    rows = re.findall(r'<tr class="(published[^"]*)"><th scope="row">(\S+)', page(make_board([tmp_path / "run"])))
    assert [name for kind, name in rows if kind == "published"] == ["LNCLIP-DF"]


@pytest.mark.slow
def test_the_worst_videos_have_pictures_from_the_folder_of_crops_and_from_nowhere_else(tmp_path):
    crops = tmp_path / "crops"
    crops.mkdir()
    run = write_dataset(tmp_path / "run", "mine", ["a_real", "a_fake"], metadata={}, frame="./{}.png")
    for frame in range(60):  # of the reals
        Image.new("RGB", (64, 64), (200, 30, frame)).save(crops / f"{frame}.png")
    found = Elements(page(make_board([run], resamples=0), crops))
    pictures = [attrs["src"] for tag, attrs in found.folded if tag == "img"]
    assert len(pictures) == 5 and all(uri.startswith("data:image/jpeg;base64,") for uri in pictures)
    packed = tmp_path / "packed"
    frames = {"mine": {"a_real": {"test": {"0": {"frames": [f"./{frame}.png" for frame in range(60)]}}}}}
    write_json(tmp_path / "mine.json", frames)
    write_pack(tmp_path / "mine.json", packed / "datasets" / "pack", data_root=crops, progress=False)
    from_pack = Elements(page(make_board([run], resamples=0), packed)).folded
    assert [attrs["src"] for tag, attrs in from_pack if tag == "img"] == pictures
    rgb = {"predicted": {"rgb_dir": "rgb"}}
    bare = write_dataset(tmp_path / "bare", "mine", ["a_real", "a_fake"], metadata=rgb, frame="{}.png")
    board = make_board([bare], resamples=0)
    assert "<img" not in page(board, crops)
    shutil.copytree(crops, tmp_path / "root" / "rgb")
    assert page(board, tmp_path / "root").count("<img") == 5
    (crops / "inside").mkdir()
    assert "<img" not in page(make_board([run], resamples=0), crops / "inside")  # there are none
    outside = write_dataset(tmp_path / "outside", "mine", ["a_real", "a_fake"], metadata={}, frame="../{}.png")
    assert "<img" not in page(make_board([outside], resamples=0), crops / "inside")


@pytest.mark.slow
def test_a_browser_sorts_by_a_click_with_gaps_last(board, tmp_path):
    click = """
      const table = document.querySelector("table.big");
      const head = [...table.tHead.rows[1].cells].find(cell => cell.textContent === "CDFv2");
      const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join("|");
      head.firstChild.click(); document.body.dataset.down = names();
      head.firstChild.click(); document.body.dataset.up = names();
      document.querySelector('.tabs button[data-panel="5"]').click();
      document.body.dataset.shown = [...document.querySelectorAll(".panel")].filter(p => p.offsetHeight).length
        + document.querySelector(".panel:not([hidden]) h3").textContent;
      const curves = [...document.querySelectorAll("path.curve")];
      document.body.dataset.drawn = curves.every(curve => curve.getTotalLength() > 300);"""
    found = after(page(board[0]), click, tmp_path)
    down, up = found["down"].split("|"), found["up"].split("|")
    known = ["ablation 5, +slerp", "ablation 3", "ablation 4", "ablation 2", "ablation 1"]
    assert down[0].startswith("LNCLIP-DF") and [n.split(", ")[0] for n in down[1:6]] == [
        n.split(", ")[0] for n in known
    ]
    assert up[0].startswith("ablation 1") and {*down[6:]} == {*up[6:]} and any("good" in name for name in down[6:])
    assert found["shown"].startswith("1KoDF") and found["drawn"] == "true"


@pytest.mark.slow
def test_a_browser_searches_runs_in_every_table_and_fits_a_phone(tmp_path):
    paths = [write_dataset(tmp_path / f"run-{n}", "UADFV", ["a_real", "a_fake"], seed=n) for n in range(7)]
    script = """
      const box = document.querySelector("input[type=search]");
      const shown = () => [...document.querySelectorAll("table.big tbody tr:not(.published)")]
        .filter(row => row.offsetHeight).map(row => row.cells[0].textContent.trim()).join("|");
      const untested = [...document.querySelectorAll("table.big .untested")];
      document.body.dataset.untested = untested.filter(cell => cell.offsetHeight).length;
      document.querySelector("[data-shows=untested]").click();
      document.body.dataset.unfolded = untested.filter(cell => cell.offsetHeight).length;
      document.body.dataset.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      box.value = "RUN 3"; box.dispatchEvent(new Event("input"));
      document.body.dataset.found = shown();
      document.querySelector(".panel details").open = true;
      setTimeout(() => { document.body.dataset.later = [...document.querySelectorAll(".panel details[open] tbody tr")]
        .filter(row => row.offsetHeight).map(row => row.cells[0].textContent.trim()).join("|"); });"""
    found = after(page(make_board(paths, resamples=0)), script, tmp_path, size="500,800")
    assert found["found"] == "run-3" and found["later"] == "run-3"
    assert found["untested"] == "0" and int(found["unfolded"]) > 100 and found["wide"] == "0"


def after(text, script, folder, size="1400,900"):
    """The data that a script leaves on the body of a page, in Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium here to open the page with")
    path = folder / "scripted.html"
    path.write_text(text.replace("</body>", f"<script>{{{script}}}</script></body>"), encoding="utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--window-size={size}",
        "--virtual-time-budget=2000", f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    return dict(re.findall(r'data-(\w+)="([^"]*)"', re.search(r"<body[^>]*>", dom).group()))
