"""The demo's data sets for the studies: by forgery method, paired and unpaired."""

import json

from trees import png, write

from lnclip_df import load_config
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.demo import for_studies


def test_the_demos_data_sets_are_its_methods_and_its_pairs(tmp_path, monkeypatch):
    def videos(first, count, label):
        names = [f"{n:03d}" for n in range(first, first + count)]
        forged = [f"{name}_reenact" for name in names] + [f"{name}_{names[0]}_swap" for name in names]
        return {
            name: {"label": label, "frames": [f"./{name}/0.png"]}
            for name in (names if label == "demo_real" else forged)
        }

    spans = {"train": (0, 4), "val": (4, 2), "test": (6, 2)}
    classes = {label: {s: videos(*span, label) for s, span in spans.items()} for label in ("demo_real", "demo_fake")}
    rows = [
        {"label": label, "split": split, "name": name}
        for label, splits in classes.items()
        for split, found in splits.items()
        for name in found
    ]
    write(tmp_path / "demo/videos/videos.json", json.dumps({"seed": 0, "videos": rows}).encode())
    for row in rows:
        write(tmp_path / "demo/faces/videos" / row["label"] / "frames" / row["name"] / "000.png", png())
    (tmp_path / "demo/dataset_json").mkdir(parents=True)
    (tmp_path / "demo/dataset_json/LNCLIP-demo.json").write_text(json.dumps({"LNCLIP-demo": classes}))
    monkeypatch.setattr(for_studies, "check_packages", lambda: None)
    monkeypatch.setattr(for_studies, "make_data", lambda *arguments: 0)
    data = for_studies.demo_data(tmp_path / "demo", tmp_path / "a: study", progress=False)
    config = load_config(data.config, data.settings(train=data.whole, val=data.whole))
    for name, fakes in (
        ("LNCLIP-demo-swap", {"swap"}),
        ("LNCLIP-demo-reenact", {"reenact"}),
        ("LNCLIP-demo", {"swap", "reenact"}),
    ):
        for split, (_, count) in spans.items():
            found = read_videos(config, [name], split)
            assert {video.name.rpartition("_")[2] for video in found if video.label} == fakes
            assert sum(not video.label for video in found) == count
        paired, unpaired = (read_videos(config, [f"{name}-{kind}"], "train") for kind in ("paired", "unpaired"))
        targets = {video.name[:3] for video in paired if video.label}
        assert {video.name for video in paired if not video.label} == targets
        assert targets.isdisjoint(video.name for video in unpaired if not video.label)
