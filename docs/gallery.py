"""Make the pictures of gallery.md from a finished demo: ``python docs/gallery.py runs/demo``.

The demo's folder is not changed. Chromium, where it is installed, takes the pictures of the leaderboard's page.
Pictures are narrow, so that a telephone shows their text at a readable size: panels are below each other, and of wide
pictures a part is shown.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import av
from PIL import Image

from lnclip_df.analysis import calibrate_run, robustness
from lnclip_df.analysis.compare_aggregations import compare_aggregations
from lnclip_df.core import plots
from lnclip_df.core.files import write_bytes
from lnclip_df.demo.run import DATASET
from lnclip_df.leaderboard import leaderboard
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.score_files import score_files
from lnclip_df.scoring.scorer import load
from lnclip_df.weights import Checkpoint

PICTURES = Path(__file__).parent / "images" / "gallery"
MAX_BYTES = 100_000
PAGE_SIZES = {"light": "680,1030", "dark": "680,1240"}  # down to the ROC curves, to the histograms
CLIP = "demo_fake/076_077_swap.mp4"  # of an identity that the training never saw; its frames are on both sides of 0.5


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
        with Image.open(next((demo / "faces").rglob("manifests/*.jpg"))) as sheet:
            save("contact-sheet", part_of(sheet, width=0.4, height=0.5))  # four of its ten columns, three of its rows
        one_video(demo / "videos" / CLIP, work)


def studies(work: Path):
    """The pictures of the studies of the trained detector."""
    run, weights = work / "trained", work / "trained" / "best.safetensors"
    compare_aggregations(run, out=work / "aggregate")
    save("aggregate", work / "aggregate" / "aggregate.png")
    with patch.object(calibrate_run, "new_panels", one_column):
        calibrate_run.calibrate_run(run, out=work / "calibration", device="cpu", progress=False)
    with Image.open(work / "calibration" / "reliability.png") as panels:
        save("reliability", part_of(panels, top=0.5))  # without those of the validation set
    checkpoint, out = Checkpoint.open(weights), run / "studies" / "robustness"
    with patch.object(robustness, "new_panels", one_column):
        robustness.robustness(
            checkpoint.config_for(), checkpoint, out, datasets=[DATASET], corruptions=["light", "occlusion"],
            attacks=["pgd"], device="cpu", progress=False,
        )  # fmt: skip
    save("robustness", out / "robustness.png")


def one_column(count: int, width: float, height: float, columns: int, *, sharey: bool = False):
    """``new_panels`` with all panels below each other."""
    return plots.new_panels(count, width, height, 1, sharey=sharey)


def one_video(clip: Path, work: Path):
    """The annotated video, the timeline and the heat maps of a clip."""
    weights = work / "trained" / "best.safetensors"
    score_files(
        partial(load, weights, device="cpu", threshold=0.5), [str(clip)], ScoreOptions(), out=work / "scores.csv",
        annotate_to=work / "annotated", explain_to=work / "explained", progress=False,
    )  # fmt: skip
    with Image.open(next((work / "annotated").rglob("*.png"))) as timeline:
        save("timeline", part_of(timeline, width=0.775))  # without the legend
    with Image.open(next((work / "explained").rglob("*.png"))) as faces:
        save("heat-maps", part_of(faces, width=0.5, top=0.09, height=0.85))  # two of four faces, without the title
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
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--window-size={PAGE_SIZES[theme]}", f"--blink-settings=preferredColorScheme={['dark', 'light'].index(theme)}",
        f"--user-data-dir={work / theme}", f"--screenshot={path}", page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    save(f"leaderboard-{theme}", path)


def part_of(image: Image.Image, width: float = 1.0, top: float = 0.0, height: float = 1.0) -> Image.Image:
    """The left part of a picture, from ``top`` downwards; all are shares of the whole."""
    box = (0, top * image.height, width * image.width, min(top + height, 1) * image.height)
    return image.crop(tuple(map(round, box)))


def save(name: str, picture: Path | Image.Image):
    """Write a picture as WebP of at most ``MAX_BYTES``."""
    image = (Image.open(picture) if isinstance(picture, Path) else picture).convert("RGB")
    for quality in range(90, 20, -10):
        data = io.BytesIO()
        image.save(data, "WEBP", quality=quality, method=6)
        if len(data.getvalue()) <= MAX_BYTES:
            break
    write_bytes(PICTURES / f"{name}.webp", data.getvalue())
    print(f"{name}.webp: {image.width} x {image.height}, {len(data.getvalue()) / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
