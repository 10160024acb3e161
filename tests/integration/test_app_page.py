"""The page in a real browser: what it answers and refuses, visitors apart, and that nothing stays or leaves."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clips import faceless, portrait, write_clip
from embedding import needs_embedding
from typer.testing import CliRunner

import lnclip_df
from lnclip_df import __version__, cli
from lnclip_df.core.provenance import WeightsRecord
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.output import as_json
from lnclip_df.scoring.results import Result

pytest.importorskip("gradio")
pytest.importorskip("retinaface")

from lnclip_df.app import listen
from lnclip_df.app.middleware import VISITOR, SecurityMiddleware
from lnclip_df.app.page import PageHandlers
from lnclip_df.app.server import MAX_UPLOADS, make_app
from lnclip_df.app.uploads import Uploads, upload_folder

SCREENSHOT = "LNCLIP_APP_SCREENSHOT"  # names the file to write one to, with the limits that are the default
MB, SECONDS = (200, 300) if SCREENSHOT in os.environ else (1, 3)
PATIENCE = 30  # seconds
ME = {VISITOR: "me"}


# --- the browser and the server --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("the page is tested in Chromium: chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1140,1330",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


async def made(scorer, uploads, limit):
    """The page, made in an event loop: outside of one, Gradio opens one and does not close it."""
    return make_app(scorer, uploads, max_bytes=limit, max_seconds=SECONDS)


@contextmanager
def serving(scorer, limit):
    """The page at an address and its uploads, in a thread."""
    import uvicorn

    with pytest.MonkeyPatch.context() as patch, upload_folder(MAX_UPLOADS * limit) as uploads:
        patch.setenv("GRADIO_TEMP_DIR", "")  # which make_app sets
        app = asyncio.run(made(scorer, uploads, limit))
        socket = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{socket.getsockname()[1]}/", uploads.folder, app)
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class Served:
    url: str
    folder: Path
    app: SecurityMiddleware | None = None

    def files(self):
        """Names of what lies in the folder, at any depth."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def served(scorer):
    with serving(scorer, MB << 20) as served:
        yield served


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    import cv2

    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "one.mp4", [portrait(2 * at) for at in range(12)])
    write_clip(folder / "two.mp4", [portrait(40 - 2 * at) for at in range(12)])
    write_clip(folder / "none.mp4", [faceless()] * 4)
    write_clip(folder / "long.mp4", [faceless(64, 64)] * 25 * (SECONDS + 1))
    cv2.imwrite(str(folder / "still.jpg"), portrait()[..., ::-1])
    (folder / "page.mp4").write_text("<html><script>alert(1)</script></html>")
    (folder / "notes.txt").write_text("no video")
    for name, size in (("large.mp4", 2 * MB << 20), ("half.mp4", MB << 20), ("other.mp4", (MB << 20) - 1)):
        (folder / name).write_bytes(os.urandom(size))
    return folder


class Broken:
    """A scorer that fails as no scorer should."""

    weights = WeightsRecord(sha256="0" * 64)
    options = ScoreOptions

    def results(self, paths, *options, **more):
        raise RuntimeError(f"cannot score {paths}")


def until(condition, seconds=PATIENCE):
    """What ``condition()`` gives once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


class Visitor:
    """Somebody with the page open in a tab."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def choose(self, *paths):
        """Put files into the box; what the page says about it, or ``taken``."""
        until(lambda: self.find("input[type=file]"))[0].send_keys("\n".join(map(str, paths)))
        return until(lambda: self.said() or (self.find(".file-preview") and "taken"))

    def said(self):
        """What the page says in a corner."""
        return "".join(toast.get_attribute("textContent") for toast in self.find(".toast-body"))

    def check(self):
        self.press("Check")

    def press(self, name):
        until(lambda: [button for button in self.find("button") if button.text == name])[0].click()

    def cards(self):
        """The answer's cards, once they are there."""
        return until(lambda: self.find("article.card"))

    def shown(self, selector):
        """How many pictures are really shown."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].filter(i => i.complete && i.naturalWidth > 20).length"
        )
        return self.driver.execute_script(script, selector)

    def json(self):
        """Of each card."""
        return [
            json.loads(base64.b64decode(link.get_attribute("href").partition(",")[2])) for link in self.find("a.json")
        ]


@pytest.fixture
def visitor(driver, served):
    yield Visitor(driver, served.url)
    driver.get("about:blank")


def expected(scorer, path):
    """The result of a file, as the page names it."""
    (result,) = scorer.results([path])
    facts = {"path": path.name, "version": __version__, "weights": scorer.weights.sha256}
    return json.loads(json.dumps(as_json(result))) | facts


def alike(one, other):
    """The same, but for the rounding of batches."""
    if isinstance(one, float):
        return other == pytest.approx(one, abs=1e-6)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == other


# --- answers ---------------------------------------------------------------------------------------------------------


def test_a_video_has_a_verdict_a_timeline_and_heat_maps(visitor, scorer, clips):
    assert visitor.choose(clips / "one.mp4") == "taken"
    visitor.check()
    (card,) = visitor.cards()
    wanted = expected(scorer, clips / "one.mp4")
    headline, *rest = card.text.splitlines()[1:]
    assert wanted["decision"] == "fake" and headline == "Signs of manipulation"
    score = f"P(fake) {wanted['score']:.3f}, above the threshold of 0.500."
    assert rest[0] == f"{score} Not calibrated: it ranks files, and is no measured probability."
    assert until(lambda: visitor.shown("img.timeline")) == 1
    assert until(lambda: visitor.shown(".faces img")) == 8
    save_screenshot(visitor.driver)


def save_screenshot(driver):
    """Keep a picture of the page for the documentation, where one is asked for."""
    if path := os.environ.get(SCREENSHOT):
        from PIL import Image

        driver.save_screenshot(path)
        Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def test_the_json_that_is_downloaded_is_the_result(visitor, scorer, clips, tmp_path):
    visitor.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path), "eventsEnabled": False}
    )
    visitor.choose(clips / "two.mp4")
    visitor.check()
    visitor.cards()[0].find_element("css selector", "a.json").click()
    until((tmp_path / "two.json").exists)
    assert alike(expected(scorer, clips / "two.mp4"), json.loads((tmp_path / "two.json").read_text()))


def test_every_image_and_a_video_without_a_face_have_cards_of_their_own(visitor, clips):
    visitor.choose(clips / "still.jpg", clips / "none.mp4")
    visitor.check()
    still, none = visitor.cards()
    table = visitor.find("table.summary tbody tr")  # of several files, first a table
    score = f"{visitor.json()[0]['score']:.3f}"
    assert [row.text for row in table] == [f"still.jpg Signs of manipulation {score}", "none.mp4 No face found –"]
    assert visitor.find("table.summary, article.card")[0].tag_name == "table"
    assert [link.get_attribute("hash") for link in visitor.find("table.summary a")] == ["#file-1", "#file-2"]
    assert still.text.splitlines()[:2] == ["still.jpg", "Signs of manipulation"]
    assert none.text.splitlines()[:2] == ["none.mp4", "No face found"]
    assert [row["decision"] for row in visitor.json()] == ["fake", None]
    assert "real" not in none.get_attribute("class") and visitor.find("img.timeline") == []


def test_an_example_can_be_pressed_and_is_deleted_like_an_upload(visitor, served):
    visitor.press("Try an example")
    (card,) = visitor.cards()
    assert card.text.startswith("synthetic-face-swap.mp4") and "P(fake)" in card.text
    assert until(lambda: visitor.shown(".faces img")) == 8 and served.files() == []
    assert not visitor.find("table.summary")


@pytest.mark.parametrize("width", [390, 1400])
def test_no_part_of_the_page_is_wider_than_the_screen(visitor, clips, width):
    visitor.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    try:
        visitor.choose(clips / "one.mp4", clips / "none.mp4")
        visitor.check()
        visitor.cards()
        assert visitor.driver.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        visitor.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [("page.mp4", "This file cannot be used: cannot be opened"), ("long.mp4", f"the limit is {SECONDS} s")],
)
def test_a_file_that_is_no_video_or_too_long_is_refused_in_one_line(visitor, served, clips, name, reason):
    assert visitor.choose(clips / name) == "taken"
    visitor.check()
    (card,) = visitor.cards()
    lines = card.text.splitlines()
    assert lines[:2] == [name, "Not scored"] and reason in lines[2] and len(lines) == 4
    assert str(served.folder) not in visitor.driver.page_source


@pytest.mark.parametrize(
    ("names", "reason"),
    [(["notes.txt"], "Invalid file type"), (["large.mp4"], "exceed the maximum allowed size of 1"),
     (["half.mp4", "other.mp4"], f"Too large: together the files may have {MB} MB")],
)  # fmt: skip
def test_what_cannot_be_uploaded_is_refused_beforehand(visitor, served, clips, names, reason):
    assert reason in visitor.choose(*(clips / name for name in names))
    assert served.files() == []


def test_nothing_chosen_is_said(visitor):
    until(lambda: visitor.find("input[type=file]"))
    visitor.check()
    assert [card.text for card in visitor.cards()] == [
        "Choose a video or images first; files chosen long ago were deleted."
    ]


def test_the_server_keeps_its_limits_whatever_the_browser_does(served):
    import httpx

    upload = f"{served.url}gradio_api/upload"
    at_once = httpx.post(upload, files=[("files", ("x.mp4", b"0" * (3 * MB << 20)))])
    assert (at_once.status_code, at_once.text) == (413, f"Too large: together the files may have {MB} MB.")
    one = httpx.post(upload, files=[("files", ("x.mp4", b"0" * ((MB << 20) + 1)))], cookies=ME)
    assert one.status_code == 413 and "exceeded maximum allowed size" in one.text
    unsaid = httpx.post(upload, content=iter([b"0"]), cookies=ME)
    assert (unsaid.status_code, unsaid.text) == (411, "The length of the request is missing.")
    assert httpx.post(f"{served.url}gradio_api/queue/join", content=b" " * (2 << 20)).status_code == 413
    assert served.files() == []


def test_a_name_is_text_and_nothing_else(visitor, clips, tmp_path):
    hostile = tmp_path / "<img src=x onerror=document.title='owned'>${document.title='owned'}{{value}}.jpg"
    shutil.copy(clips / "still.jpg", hostile)
    visitor.choose(hostile)
    visitor.check()
    (card,) = visitor.cards()
    assert "Signs of manipulation" in card.text and len(card.find_elements("css selector", ".faces img")) == 2
    assert (
        visitor.shown("article.card img") == len(visitor.find("article.card img")) and visitor.driver.title != "owned"
    )


# --- visitors --------------------------------------------------------------------------------------------------------


def test_two_visitors_at_once_see_their_own_results(driver, served, scorer, clips):
    first = Visitor(driver, served.url)
    first.choose(clips / "one.mp4")
    tab = driver.current_window_handle
    driver.switch_to.new_window("tab")
    second = Visitor(driver, served.url)
    second.choose(clips / "two.mp4")
    second.check()
    driver.switch_to.window(tab)
    first.check()
    assert [card.text.splitlines()[0] for card in first.cards()] == ["one.mp4"]
    found = first.json()
    driver.switch_to.window(next(handle for handle in driver.window_handles if handle != tab))
    assert [card.text.splitlines()[0] for card in second.cards()] == ["two.mp4"]
    found += second.json()
    driver.close()
    driver.switch_to.window(tab)
    wanted = [expected(scorer, clips / name)["score"] for name in ("one.mp4", "two.mp4")]
    assert [row["score"] for row in found] == pytest.approx(wanted, abs=1e-6)


@needs_embedding
def test_the_files_of_a_ticket_are_scored_and_deleted(scorer, clips, tmp_path):
    uploads, steps = Uploads(tmp_path, 1 << 20), []
    paths = [shutil.copy(clips / name, tmp_path) for name in ("still.jpg", "page.mp4")]
    ticket = uploads.new_ticket("a", map(Path, paths))
    cards = PageHandlers(scorer, uploads, SECONDS).score(ticket, True, lambda share, text: steps.append((share, text)))
    assert cards.count("<article") == 2 and "Signs of manipulation" in cards and "This file cannot be used" in cards
    assert steps[0] == (0.0, "still.jpg: finding faces") and steps[-1] == (0.9, "page.mp4: drawing heat maps")
    assert list(tmp_path.iterdir()) == [] and uploads.files(ticket) == []


def test_who_leaves_is_not_scored_any_further(tmp_path):
    uploads, path, ticks = Uploads(tmp_path, 1 << 20), tmp_path / "x.mp4", []

    class Slow(Broken):
        def results(self, paths, options, *, keep_crops, on_progress, finder):
            for done in range(1, 9):
                ticks.append(done)
                on_progress(done, 8)
                if done == 3:
                    uploads.release_session("a")
            yield Result("x.mp4", "unreadable", "too late")

    path.write_bytes(b"0")
    ticket = uploads.new_ticket("a", [path])
    assert "the visitor has left" in PageHandlers(Slow(), uploads, 3).score(ticket, False, lambda share, what: None)
    assert ticks == [1, 2, 3, 4] and not path.exists()


# --- what stays ------------------------------------------------------------------------------------------------------


def test_a_file_is_on_the_disk_until_it_is_scored(visitor, served, clips):
    visitor.choose(clips / "one.mp4", clips / "still.jpg")
    assert served.files() == ["one.mp4", "still.jpg"]
    visitor.check()
    visitor.cards()
    assert served.files() == []


def test_a_file_is_deleted_when_the_visitor_takes_it_out_or_leaves(visitor, served, clips):
    for leave in (lambda: visitor.find("[aria-label='Clear'], [aria-label='Remove this file']")[0].click(),
                  lambda: visitor.driver.get("about:blank")):  # fmt: skip
        visitor.choose(clips / "one.mp4")
        assert served.files() == ["one.mp4"]
        leave()
        until(lambda: served.files() == [])


def test_a_fault_of_ours_is_one_polite_line_and_neither_file_nor_answer_is_kept(driver, clips, caplog):
    with serving(Broken(), 1 << 20) as served:
        visitor = Visitor(driver, served.url)
        visitor.choose(clips / "one.mp4")
        assert served.files() == ["one.mp4"]
        visitor.check()
        (card,) = visitor.cards()
        assert card.text.startswith("Something went wrong here") and "\n" not in card.text
        assert "RuntimeError" not in driver.page_source and str(served.folder) not in driver.page_source
        assert served.files() == []
        kept = served.app.app.routes[-1].app.state_holder.session_data
        assert "Something went wrong" in str([state.config_values for state in kept.values()])
        driver.get("about:blank")
        until(lambda: not kept)
    assert not served.folder.exists() and "RuntimeError: cannot score" in caplog.text


def test_no_request_leaves_the_machine(driver, served, clips):
    driver.get_log("performance")
    visitor = Visitor(driver, served.url)
    visitor.choose(clips / "one.mp4")
    visitor.check()
    visitor.cards()
    driver.get("about:blank")
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = [url for url in urls if not url.startswith(("data:", "blob:", "about:"))]
    assert len(asked) > 10 and {urlsplit(url).hostname for url in asked} == {"127.0.0.1"}


def test_the_browser_may_ask_this_server_alone(served):
    import httpx

    policy = httpx.get(served.url).headers["content-security-policy"]
    assert policy.startswith("default-src 'self';") and "http" not in policy and "*" not in policy


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_taken_port_is_said_in_one_line():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(cli.app, ["app", "--port", str(port)])
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: cannot serve at 127.0.0.1, port {port}: Address already in use; choose another host or port\n"
    )


def test_limits_are_above_nothing(weights):
    done = CliRunner().invoke(cli.app, ["app", "--weights", str(weights), "--port", "0", "--max-mb", "0"])
    assert done.exit_code == 1 and "error: max_mb: 0 received; accepted is a number above 0" in done.stderr


def test_the_command_serves_the_page_and_leaves_nothing(driver, weights, clips, tmp_path):
    temporary, cwd, log = tmp_path / "tmp", tmp_path / "cwd", tmp_path / "log"
    temporary.mkdir()
    cwd.mkdir()
    command = [sys.executable, "-m", "lnclip_df", "app", "--weights", weights, "--port", "0", "--threshold", "0.99"]
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment |= {"TMPDIR": str(temporary), "PYTHONPATH": str(Path(lnclip_df.__file__).parents[1])}
    with open(log, "w") as file, subprocess.Popen(command, cwd=cwd, env=environment, stderr=file) as process:
        try:
            address = until(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()), 120)[0]
            visitor, served = Visitor(driver, address), Served(address, temporary)
            visitor.choose(clips / "one.mp4")
            visitor.check()
            assert "No signs of manipulation found" in visitor.cards()[0].text
            visitor.choose(clips / "two.mp4")
            assert served.files() == ["two.mp4"]
            process.terminate()
            assert process.wait(20) == 143
        finally:
            process.kill()
    assert served.files() == [] and list(temporary.glob("lnclip-app-*")) == []
    assert list(cwd.iterdir()) == [] and "Traceback" not in log.read_text()
