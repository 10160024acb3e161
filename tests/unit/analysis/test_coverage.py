"""Coverage: failures counted by hand, contradictions refused, and the join with preprocessing's manifest."""

import csv

import numpy as np
import pytest
import trees
from sklearn.metrics import roc_auc_score

from lnclip_df.analysis.coverage import COLUMNS, coverage, read_counts, treated, write_counts
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.tables import read_csv
from lnclip_df.datasets.scan import scan_videos
from lnclip_df.evaluation.estimates import Bootstrap


def videos(n=80, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    score = np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0, 1).round(2)
    found = rng.integers(0, 9, n)
    return label, score, np.full(n, 8), found


def pairs(label, right):
    """The mean over all pairs of a fake and a real of what ``right`` says of it."""
    fakes, reals = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    return np.mean([[right(f, r) for r in reals] for f in fakes])


def order(a, b):
    return 1.0 if a > b else 0.5 if a == b else 0.0


def area(label, score):
    return Bootstrap(resamples=0).auroc(label, score).value


def test_the_treatments_equal_loops_over_pairs():
    label, score, asked, found = videos()
    ours = {name: area(*pair) for name, pair in treated(label, score, asked, found).items()}
    half = [s if n else 0.5 for s, n in zip(score, found, strict=True)]
    by_frame = [np.mean([s] * n + [0.5] * (a - n)) if n else 0.5 for s, a, n in zip(score, asked, found, strict=True)]
    seen = found > 0
    assert ours["excluded"] == pytest.approx(roc_auc_score(label[seen], score[seen]), abs=1e-12)
    assert ours["0.5"] == pytest.approx(pairs(label, lambda f, r: order(half[f], half[r])), abs=1e-12)
    assert ours["0.5 a frame"] == pytest.approx(roc_auc_score(label, by_frame), abs=1e-12)
    assert ours["missing"] == pytest.approx(
        pairs(label, lambda f, r: order(score[f], score[r]) if seen[f] and seen[r] else 0.0), abs=1e-12
    )
    shares = np.mean(seen[label == 1]) * np.mean(seen[label == 0])
    assert ours["missing"] == pytest.approx(ours["excluded"] * shares, abs=1e-12)


def test_all_treatments_agree_where_every_frame_has_a_face():
    label, score, asked, _ = videos()
    values = {area(*pair) for pair in treated(label, score, asked, asked).values()}
    assert max(values) - min(values) < 1e-12


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def run(tmp_path):
    """A CSV run of the videos with a face, and the CSV of the frames found of all."""
    label, score, asked, found = videos()
    rows = [["toy", f"v{i}", label[i], score[i]] for i in range(len(label)) if found[i]]
    all_rows = [["toy", f"v{i}", label[i], asked[i], found[i]] for i in range(len(label))]
    write(tmp_path / "run.csv", [["dataset", "video", "label", "prob"], *rows])
    return tmp_path / "run.csv", write(tmp_path / "found.csv", [COLUMNS, *all_rows]), all_rows


def test_the_study_writes_what_the_functions_say(run, tmp_path):
    path, found, _ = run
    text = coverage(path, found, resamples=200, out=tmp_path / "out")
    rows = {row["part"]: row for row in read_csv(tmp_path / "out" / "coverage.csv", ("part",))}
    for name, (label, score) in treated(*videos()).items():
        assert float(rows[name]["auroc"]) == pytest.approx(roc_auc_score(label, score), abs=1e-6)
        assert float(rows[name]["low"]) < float(rows[name]["auroc"]) < float(rows[name]["high"])
    groups = ["no face", "under half", "half or more", "all frames"]
    assert sum(int(rows[name][kind]) for name in groups for kind in ("reals", "fakes")) == 80
    assert rows["no face"]["auroc"] == ""
    assert "missing" in text
    assert (tmp_path / "out" / "coverage.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[3].__setitem__(4, 9), "line 5.*9 of 8 frames"),
        (lambda rows: rows[3].__setitem__(2, "x"), "line 5.*whole numbers"),
        (lambda rows: rows.append(list(rows[0])), "has two rows"),
        (lambda rows: rows.append(["toy", "new", 1, 8, 3]), "new has 3 frames with a face and no prediction"),
        (lambda rows: rows.pop(next(i for i, r in enumerate(rows) if r[4])), "have no row"),
        (lambda rows: next(r for r in rows if r[4]).__setitem__(4, 0), "no face.*contradict"),
        (lambda rows: next(r for r in rows if r[4] and r[2]).__setitem__(2, 0), "label 0.*contradict"),
        (lambda rows: [row.__setitem__(0, "other") for row in rows], "no rows of a dataset of .*; it has other"),
        (lambda rows: rows.clear(), "has no rows"),
    ],
)
def test_contradictions_are_one_line(run, tmp_path, change, message):
    path, found, rows = run
    change(rows)
    write(found, [COLUMNS, *rows])
    with pytest.raises(LNCLIPError, match=message) as error:
        coverage(path, found, resamples=0, out=tmp_path / "out")
    assert "\n" not in str(error.value)


def test_the_results_do_not_overwrite_what_they_are_made_of(run, tmp_path):
    path, _, rows = run
    counts = tmp_path / "coverage.csv"
    write(counts, [COLUMNS, *rows])
    before = counts.read_bytes()
    with pytest.raises(LNCLIPError, match="it is an input"):
        coverage(path, counts, resamples=0, out=tmp_path)
    assert counts.read_bytes() == before


@pytest.mark.parametrize("name", ["Celeb-DF-v2", "FaceForensics++"])
def test_the_manifest_is_joined_by_the_key_that_predictions_have(tmp_path, name):
    from tiny import configured

    from lnclip_df.datasets.dataset_json import read_videos
    from lnclip_df.datasets.rearrange import rearrange

    root = trees.build_videos(tmp_path, trees.TREES[name])
    trees.build_faces(tmp_path, trees.TREES[name])
    level = "c23" if name == "FaceForensics++" else None
    items = [item for item in scan_videos(name, root, level=level) if "test" in item.splits]
    rows = [[item.path, 32, at % 33] for at, item in enumerate(items)]
    manifest = write(tmp_path / "m.csv", [["video", "asked", "saved"], *rows])
    found = read_counts(write_counts(tmp_path / "found.csv", [manifest], name, root, level=level))[name]
    rearrange(name, root, tmp_path / "preprocessing" / "dataset_json", relative_to=tmp_path, level=level)
    keys = {video.key: video.label for video in read_videos(configured(tmp_path), [name], "test")}
    assert dict(zip(found.video, found.label, strict=True)) == keys
    assert found.found.tolist() == [row[2] for row in rows]
    write(manifest, [["video", "asked", "saved"], *rows[1:]])
    with pytest.raises(LNCLIPError, match="is in no manifest"):
        write_counts(tmp_path / "found.csv", [manifest], name, root, level=level)


def test_a_video_that_two_manifests_name_counts_once(tmp_path):
    root = trees.build_videos(tmp_path, trees.TREES["UADFV"])
    items = [item.path for item in scan_videos("UADFV", root) if "test" in item.splits]
    header = ["video", "outcome", "asked", "saved"]
    done = [[path, "done", 32, 30] for path in items]
    waiting = [[path, "waiting", 0, 0] for path in items]
    first = write(tmp_path / "1.csv", [header, *done[:1], *waiting[1:]])
    second = write(tmp_path / "2.csv", [header, *waiting[:1], *done[1:]])

    def count(*manifests):
        return read_counts(write_counts(tmp_path / "found.csv", manifests, "UADFV", root))["UADFV"].found.tolist()

    assert count(first, second) == count(second, first, first) == [30] * len(items)
    with pytest.raises(LNCLIPError, match="is in no manifest"):
        count(first)
    other = write(tmp_path / "3.csv", [header, [items[0], "done", 32, 7]])
    with pytest.raises(LNCLIPError, match=r"3\.csv: the video .* has other frames in another manifest"):
        count(first, second, other)
    with pytest.raises(LNCLIPError, match=r"4\.csv: the video .* is there twice"):
        count(write(tmp_path / "4.csv", [header, *done, done[0]]))
