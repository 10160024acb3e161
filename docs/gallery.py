"""Make the pictures of gallery.md from a finished demo: ``python docs/gallery.py runs/demo``.

The demo's folder is not changed. Chromium, where it is installed, takes the pictures of the leaderboard's page.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import av
from PIL import Image

from lnclip_df.analysis.attacks import ATTACKS
from lnclip_df.analysis.calibrate_run import calibrate_run
from lnclip_df.analysis.compare_aggregations import compare_aggregations
from lnclip_df.analysis.corruptions import CORRUPTIONS
from lnclip_df.analysis.robustness import robustness
from lnclip_df.core.files import write_bytes
from lnclip_df.demo.run import DATASET
from lnclip_df.leaderboard import leaderboard
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.score_files import score_files
from lnclip_df.scoring.scorer import load
from lnclip_df.weights import Checkpoint

PICTURES = Path(__file__).parent / "images" / "gallery"
WIDTH, MAX_BYTES = 1200, 100_000
CLIP = "demo_fake/056_057_swap.mp4"  # of an identity that the training never saw


def main(demo: Path):
    """Write every picture of the gallery."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for part in ("trained", "untrained"):
            shutil.copytree(demo / part, work / part)
        leaderboard([work / "trained", work / "untrained"], work / "board", crops=demo)
        save("roc", work / "board" / "roc.png")
        for theme in ("light", "dark"):
            screenshot(work / "board" / "leaderboard.html", theme, work)
        studies(work)
        with Image.open(next((demo / "faces").rglob("manifests/*.png"))) as sheet:
            save("contact-sheet", sheet.crop((0, 0, sheet.width, sheet.height // 2)))  # three of its six rows
        one_video(demo / "videos" / CLIP, work)


def studies(work: Path):
    """The pictures of the studies of the trained detector."""
    run, weights = work / "trained", work / "trained" / "best.safetensors"
    calibrate_run(run, out=work / "calibration", device="cpu", progress=False)
    save("reliability", work / "calibration" / "reliability.png")
    compare_aggregations(run, out=work / "aggregate")
    save("aggregate", work / "aggregate" / "aggregate.png")
    checkpoint = Checkpoint.open(weights)
    robustness(
        checkpoint.config_for(), checkpoint, run / "studies" / "robustness", datasets=[DATASET],
        corruptions=list(CORRUPTIONS), attacks=list(ATTACKS), device="cpu", progress=False,
    )  # fmt: skip
    save("robustness", run / "studies" / "robustness" / "robustness.png")


def one_video(clip: Path, work: Path):
    """The annotated video, the timeline and the heat maps of a clip."""
    weights = work / "trained" / "best.safetensors"
    score_files(
        partial(load, weights, device="cpu", threshold=0.5), [str(clip)], ScoreOptions(), out=work / "scores.csv",
        annotate_to=work / "annotated", explain_to=work / "explained", progress=False,
    )  # fmt: skip
    save("timeline", next((work / "annotated").rglob("*.png")))
    save("heat-maps", next((work / "explained").rglob("*.png")))
    with av.open(str(next((work / "annotated").rglob("*.mp4")))) as video:
        save("annotated", next(video.decode(video=0)).to_image())


def screenshot(page: Path, theme: str, work: Path):
    """The page in Chromium, in a theme; nothing where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        print("no chromium: the pictures of the page stay as they are")
        return
    path = work / f"{theme}.png"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,980",
        f"--blink-settings=preferredColorScheme={['dark', 'light'].index(theme)}", f"--user-data-dir={work / theme}",
        f"--screenshot={path}", page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    save(f"leaderboard-{theme}", path)


def save(name: str, picture: Path | Image.Image):
    """Write a picture as WebP of at most ``WIDTH`` pixels and ``MAX_BYTES``."""
    image = (Image.open(picture) if isinstance(picture, Path) else picture).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    for quality in range(90, 20, -10):
        data = io.BytesIO()
        image.save(data, "WEBP", quality=quality, method=6)
        if len(data.getvalue()) <= MAX_BYTES:
            break
    write_bytes(PICTURES / f"{name}.webp", data.getvalue())
    print(f"{name}.webp: {image.width} x {image.height}, {len(data.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
