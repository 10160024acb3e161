"""The leaderboard's times and memory, and how often its intervals contain the true value.

* an AUROC's interval from 10,000 resamples of 5,000 videos;
* the whole leaderboard of one and of two runs from stored predictions of FaceForensics++ and 13 synthetic datasets, of
  the test sets' published sizes and 32 frames per video (IDForge and KoDF, whose test sizes are not known, with 5,000);
* coverage: how many intervals of simulated test sets contain the AUROC that the scores were drawn with. Scores are
  drawn from two normal distributions. With ties, a score is the mean of eight frames, each rounded to one digit,
  rounded to two. With spread, the fakes spread twice as far as the reals.

taskset -c 0 python benchmarks/leaderboard.py [--out benchmarks/results/leaderboard.md] [--keep FOLDER]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path
from statistics import NormalDist

import numpy as np
from common import machine, write_table

from lnclip_df.evaluation.predictions import write_predictions
from lnclip_df.evaluation.statistics import auroc_interval, combined_interval, placements

FRAMES = 32
# Reals, and fakes by method: the test counts of bench_configs/datasets/*.yaml; shared equally if not counted by method.
DATASETS = {
    "FaceForensics++": (140, {"FF-DF": 140, "FF-F2F": 140, "FF-FS": 140, "FF-NT": 140}),
    "Celeb-DF-v2": (178, {"": 340}),
    "DeepFakeDetection": (363, {"": 3068}),
    "DFDC": (2500, {"": 2500}),
    "FaceShifter": (140, {"": 140}),
    "UADFV": (49, {"": 49}),
    "DFDM": (590, dict.fromkeys(("dfaker", "dfl", "iae", "lightweight"), 430)),
    "FFIW": (1738, {"": 1738}),
    "DeepSpeak-v1.1": (
        1416, dict.fromkeys(("facefusion", "facefusion_gan", "facefusion_live", "retalking", "wav2lip"), 299)
    ),
    "DeepSpeak-v2.0": (
        1863, dict.fromkeys(("diff2lip", "facefusion", "hellomeme", "latentsync", "liveportrait", "memo"), 236)
    ),
    "KoDF": (2500, dict.fromkeys(("audio-driven", "dffs", "dfl", "fo", "fsgan"), 500)),
    "FakeAVCeleb": (
        500,
        {"wav2lip": 9000, "faceswap": 730, "fsgan": 3964, "faceswap-wav2lip": 3297, "fsgan-wav2lip": 3553},
    ),
    "PolyGlotFake": (766, {"video_retalking": 7247, "Wav2Lip": 7225}),
    "IDForge-v1": (2500, dict.fromkeys(("face_tts_infoswap", "face_tts_roop", "face_tts_simswap"), 833)),
}  # fmt: skip


KINDS = {"": "", "ties": ", ties", "spread": ", fakes spread twice as far"}
COVERAGE = (
    (10, 10, 0.8, ""),
    (30, 30, 0.97, ""),
    (49, 49, 0.95, ""),
    (49, 49, 0.99, ""),
    (20, 200, 0.8, ""),
    (200, 20, 0.8, ""),
    (100, 100, 0.9, ""),
    (140, 140, 0.9, ""),
    (178, 340, 0.965, ""),
    (500, 500, 0.8, ""),
    (500, 500, 0.99, ""),
    (2500, 2500, 0.87, ""),
    (30, 30, 0.97, "ties"),
    (49, 49, 0.95, "ties"),
    (20, 200, 0.8, "ties"),
    (500, 500, 0.99, "ties"),
    (49, 49, 0.95, "spread"),
    (49, 49, 0.99, "spread"),
)
THIRTEEN = tuple((50 + 20 * at, 60 + 40 * at, 0.97 - 0.015 * at) for at in range(13))


def write_run(folder, strength, seed):
    """Predictions of a synthetic detector on every dataset; the larger ``strength``, the better it is."""
    for number, (dataset, (reals, methods)) in enumerate(DATASETS.items()):
        rng = np.random.default_rng([seed, number])
        method = np.repeat(["", *methods], [reals, *methods.values()])
        label = np.r_[np.zeros(reals, int), np.ones(len(method) - reals, int)]
        shared = np.random.default_rng(number).normal(size=len(label))  # a video that is hard is hard for both runs
        video = strength * (label - 0.5) + 0.6 * shared + 0.8 * rng.normal(size=len(label))
        logit = np.repeat(video, FRAMES) + rng.normal(size=FRAMES * len(label))
        is_ff = dataset == "FaceForensics++"
        names = [
            m or "FF-real" if is_ff else f"{dataset}_{('real', 'fake')[y]}" for m, y in zip(method, label, strict=True)
        ]
        keys = [f"{dataset}/{name}/{index:05d}" for index, name in enumerate(names)]
        rows = np.repeat(np.arange(len(label)), FRAMES)
        table = {
            "dataset": [dataset] * len(rows),
            "split": ["test"] * len(rows),
            "label_name": [names[row] for row in rows],
            "video": [keys[row] for row in rows],
            "frame": [f"{keys[row]}/{at % FRAMES:03d}.png" for at, row in enumerate(rows)],
            "label": label[rows],
            "prob": 1 / (1 + np.exp(-logit)),
        }
        if not is_ff and len(methods) > 1:
            table["method"] = [str(method[row]) for row in rows]
        facts = {
            "dataset": dataset, "split": "test", "train_dataset": ["FaceForensics++"],
            "weights": {"path": "best.safetensors", "sha256": f"{seed:064x}", "epoch": 7}, "crops": {"0123456789": 256},
        }  # fmt: skip
        write_predictions(folder / "predictions" / f"{dataset}.parquet", table, facts)


def seconds_of_interval():
    """Seconds for 10,000 resamples of 5,000 videos: the fastest and the slowest of three runs."""
    rng = np.random.default_rng(0)
    label = np.arange(5000) % 2
    score = 1 / (1 + np.exp(-(1.5 * label + rng.normal(size=5000))))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        auroc_interval(label, score, resamples=10_000)
        times.append(time.perf_counter() - started)
    return min(times), max(times)


def whole_leaderboard(runs, out):
    """Seconds and peak memory in GB of the command, in its own process."""
    command = [sys.executable, "-m", "lnclip_df", "leaderboard", *map(str, runs), "--out", str(out), "--metrics", "all"]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def coverage(reals, fakes, auroc, kind="", *, tests=4000, resamples=1000):
    """Share of 95 % intervals that contain the AUROC with which the scores were drawn."""
    rng = np.random.default_rng(0)
    label, many = np.repeat([0, 1], [reals, fakes]), np.repeat([0, 1], 1_000_000)
    truth = placements(many, scores(rng, many, auroc, kind))[0].mean() if kind == "ties" else auroc
    contained = 0
    for test in range(tests):
        low, high = auroc_interval(label, scores(rng, label, auroc, kind), resamples=resamples, seed=test)
        contained += low <= truth <= high
    return contained / tests


def coverage_of_mean(sets, *, tests=1000, resamples=500):
    """Share of 95 % intervals of the mean over test sets ``(reals, fakes, auroc)`` that contain the mean AUROC."""
    rng = np.random.default_rng(0)
    labels = [np.repeat([0, 1], [reals, fakes]) for reals, fakes, _ in sets]
    contained = 0
    for test in range(tests):
        drawn = [(label, scores(rng, label, auroc)) for label, (*_, auroc) in zip(labels, sets, strict=True)]
        bounds = [auroc_interval(*one, resamples=resamples, seed=[test, at]) for at, one in enumerate(drawn)]
        values = [placements(*one)[0].mean() for one in drawn]
        low, high = combined_interval(values, bounds, np.full(len(sets), 1 / len(sets)))
        contained += low <= np.mean([auroc for *_, auroc in sets]) <= high
    return contained / tests


def scores(rng, label, auroc, kind=""):
    """Scores with this expected AUROC (with ties: before rounding)."""
    spread = 2.0 if kind == "spread" else 1.0
    shift = (1 + spread**2) ** 0.5 * NormalDist().inv_cdf(auroc)
    video = rng.normal(size=len(label)) * np.where(label, spread, 1) + shift * (label - 0.5)
    if kind != "ties":
        return 1 / (1 + np.exp(-video))
    total = sum((1 / (1 + np.exp(-(video + 0.5 * rng.normal(size=len(label)))))).round(1) for _ in range(8))
    return (total / 8).round(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="benchmarks/results/leaderboard.md")
    parser.add_argument("--keep", help="Folder in which the runs and the leaderboard are kept.")
    arguments = parser.parse_args()
    rows = []
    fast, slow = seconds_of_interval()
    rows.append({"what": "an AUROC's interval, 10,000 resamples of 5,000 videos", "figure": f"{fast:.2f}–{slow:.2f} s"})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        runs = [folder / "first", folder / "second"]
        for seed, (run, strength) in enumerate(zip(runs, (3.0, 2.4), strict=True)):
            writer = Process(target=write_run, args=(run, strength, seed + 1))  # its memory is not the leaderboard's
            writer.start()
            writer.join()
        videos = sum(reals + sum(methods.values()) for reals, methods in DATASETS.values())
        for count in (1, 2):
            time_taken, memory = whole_leaderboard(runs[:count], folder / f"board{count}")
            what = f"lnclip-df leaderboard --metrics all, {count} × {videos:,} videos × {FRAMES} frames"
            rows.append({"what": what, "figure": f"{time_taken:.1f} s, {memory:.2f} GB"})
    for reals, fakes, auroc, kind in COVERAGE:
        share = coverage(reals, fakes, auroc, kind, tests=500 if reals > 1000 else 4000)
        what = f"95 % intervals that contain the true AUROC: {reals} reals, {fakes} fakes, AUROC {auroc}{KINDS[kind]}"
        rows.append({"what": what, "figure": f"{100 * share:.1f} %"})
    for sets in (((49, 49, 0.95), (30, 30, 0.97), (100, 100, 0.9), (20, 200, 0.8)), THIRTEEN):
        what = f"95 % intervals of a mean over {len(sets)} test sets that contain the true mean"
        rows.append({"what": what, "figure": f"{100 * coverage_of_mean(sets):.1f} %"})
    write_table(arguments.out, "The leaderboard from stored predictions", machine("cpu"), rows)


if __name__ == "__main__":
    main()
