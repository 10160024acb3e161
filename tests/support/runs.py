"""Runs with made-up predictions."""

import numpy as np

from lnclip_df.evaluation.predictions import write_predictions

FF = ["FF-real", "FF-DF", "FF-F2F", "FF-FS", "FF-NT"]


def run_facts(weights="a", **further):
    config = {"lnclip": {"slerp": {"enabled": True}, "tune": "layernorm"}, "train_batchSize": 128, "workers": 4}
    return {
        "weights": {"path": "x", "sha256": weights * 64, "epoch": 3}, "train_dataset": ["FaceForensics++"],
        "videos_sha256": "e" * 64, "config_sha256": "f" * 64, "crops": {"0123456789": 4},
        "trained": {"config": config, "seed": 1, "selection": "highest video AUROC"},
        "predicted": {"resolution": 224, "frame_num": 32}, "metric": "video AUROC", "versions": {"torch": "2"},
    } | further  # fmt: skip


def write_dataset(
    folder, dataset, labels, *, strength=2.0, seed=0, methods=None, metadata=None, each=20, frame="{}.png"
):
    """Predictions of ``each`` videos of 3 frames for every label name; names that end in real are real."""
    rng = np.random.default_rng(seed)
    names = [name for name in labels for _ in range(each * 3)]
    label = np.array([not name.endswith("real") for name in names]).astype(int)
    prob = 1 / (1 + np.exp(-(strength * (label - 0.5) + rng.normal(size=len(names)))))
    table = {
        "dataset": [dataset] * len(names), "split": ["test"] * len(names), "label_name": names,
        "video": [f"{dataset}/{name}/{row // 3 % each:03d}" for row, name in enumerate(names)],
        "frame": [frame.format(row) for row in range(len(names))], "label": label, "prob": prob,
    }  # fmt: skip
    if methods:
        table["method"] = [methods[row // 3 % each % len(methods)] if y else "" for row, y in enumerate(label)]
    write_predictions(
        folder / "predictions" / f"{dataset}.parquet", table, run_facts() if metadata is None else metadata
    )
    return folder
