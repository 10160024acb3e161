"""How far figures of few videos are from the truth: AUROCs, differences of two detectors, temperatures.

Scores are drawn from two normal distributions. The true AUROC is 0.9. The two detectors that are compared are equally
good, and their scores correlate by 0.7 within a class. A temperature is fitted on eight frames of one score a video;
the true one is 2.

python benchmarks/few_videos.py [--out benchmarks/results/few-videos.md]
"""

import argparse
from statistics import NormalDist

import numpy as np
from common import machine, write_table

from lnclip_df.evaluation.calibration import fit_temperature
from lnclip_df.evaluation.metrics import auroc
from lnclip_df.evaluation.statistics import delong

AUROC, SETS = 0.9, 1000
APART = 2**0.5 * NormalDist().inv_cdf(AUROC)  # of the means of two normal distributions with this AUROC
SPREAD = 2 / APART  # of calibrated scores around -1 and 1: their logit is 2 · score / SPREAD²


def sigmoid(x):
    """Probabilities of logits."""
    return 1 / (1 + np.exp(-x))


def figures(videos, rng):
    """Of ``SETS`` test sets: the AUROCs, the absolute differences of two equal detectors, and the temperatures."""
    label = np.repeat([0, 1], videos)
    aurocs, differences, temperatures = [], [], []
    for _ in range(SETS):
        noise = rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 2 * videos)
        a, b = sigmoid(noise + APART * label[:, None]).T
        aurocs.append(auroc(label, a))
        differences.append(abs(delong(label, a, b).difference))
        score = 2 * label - 1 + SPREAD * rng.normal(size=2 * videos)
        twice_too_sure = 2 * (2 / SPREAD**2 * score)
        temperatures.append(fit_temperature(np.repeat(label, 8), sigmoid(np.repeat(twice_too_sure, 8))))
    return aurocs, differences, temperatures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="benchmarks/results/few-videos.md")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = []
    for videos in (5, 10, 20, 50, 100, 500):
        aurocs, differences, temperatures = figures(videos, rng)
        low, high = 100 * np.quantile(aurocs, [0.025, 0.975])
        half, tenth = 100 * np.quantile(differences, [0.5, 0.9])
        cold, hot = np.quantile(temperatures, [0.05, 0.95])
        rows.append({
            "videos of each class": videos,
            "AUROC in 95 of 100 test sets, % (true: 90)": f"{low:.0f}–{high:.0f}",
            "two equal detectors differ by, points: median": f"{half:.1f}",
            "in one of ten test sets by at least": f"{tenth:.1f}",
            "temperature in 90 of 100 sets (true: 2)": f"{cold:.2g}–{hot:.2g}",
        })  # fmt: skip
    write_table(options.out, "Figures of few videos", machine("cpu"), rows)


if __name__ == "__main__":
    main()
