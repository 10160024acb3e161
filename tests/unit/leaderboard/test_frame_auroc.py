"""Published frame AUROCs are beside frame AUROCs alone; a mean is compared where a run says its training set."""

import csv

import pytest
from runs import write_dataset
from sklearn.metrics import roc_auc_score

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.evaluation.reference import dataset_of, reference
from lnclip_df.evaluation.runs import read_run
from lnclip_df.leaderboard import compare, make_board, write_board
from lnclip_df.leaderboard.figures import frame_mean, published_mean
from lnclip_df.leaderboard.text import frame_rows, markdown

EIGHT = [dataset_of(column) for column in reference().frames.cross_dataset]


def frame_auroc(run, dataset):
    """scikit-learn's, of a run's frames as they stand in its file."""
    scores = read_run(run).sets[dataset]
    return 100 * roc_auc_score(scores.label[scores.frame_video], scores.frame_prob)


def write_csv(path, datasets, trained=None):
    """A CSV of another tool with two reals and two fakes of each dataset, all ranked right but for one fake."""
    rows = ["dataset,video,label,prob" + (",train_dataset" if trained is not None else "")]
    for dataset in datasets:
        for video, label, prob in (("a", 0, 0.1), ("b", 0, 0.5), ("c", 1, 0.4), ("d", 1, 0.9)):
            rows.append(f"{dataset},{video},{label},{prob}" + (f",{trained}" if trained is not None else ""))
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "run"
    for dataset in ("Celeb-DF-v1", "Celeb-DF-v2", "DeeperForensics-1.0", "DFDCP", "KoDF"):
        write_dataset(folder, dataset, ["x_real", "x_fake"], strength=1.0)
    return folder


def test_a_run_stands_beside_deepfakebenchs_detectors_on_the_columns_it_was_tested_on(run):
    header, ours, *theirs = frame_rows(make_board([run], metrics=["frame_auroc"], against="Xception", resamples=0))
    assert header == ["run", "cross-dataset mean", "CDFv1", "CDFv2", "DF-1.0", "DFDCP"]
    published = {"CDFv1": 77.94, "CDFv2": 73.65, "DF-1.0": 83.41, "DFDCP": 73.74}
    for column, text in zip(header[2:], ours[2:], strict=True):
        value = frame_auroc(run, dataset_of(column))
        assert text == f"{value:.1f} ({published[column]:.1f}, {value - published[column]:+.1f})"
    mean = sum(frame_auroc(run, dataset_of(column)) for column in published) / 4
    assert ours[1] == f"{mean:.1f} (4 of 8) (77.2)"  # four of eight columns are not compared
    assert len(theirs) == 15 and theirs[3] == ["Xception (published)", "77.2", "77.9", "73.7", "83.4", "73.7"]


@pytest.mark.slow
def test_a_frame_auroc_is_never_beside_a_video_auroc(run, tmp_path):
    board = make_board([run], metrics=["frame_auroc"], against="Xception", resamples=0)
    assert "Xception" not in markdown(board) and "73.7" not in markdown(board).splitlines()[2]
    write_board(board, tmp_path)
    rows = list(csv.DictReader((tmp_path / "figures.csv").read_text(encoding="utf-8").splitlines()))
    stated = {(row["column"], row["metric"]): row["published"] for row in rows}
    assert float(stated["CDFv2", "frame AUROC"]) == pytest.approx(0.7365) and stated["CDFv2", "video AUROC"] == ""
    assert stated["KoDF", "frame AUROC"] == ""
    for name in ("details.md", "leaderboard.html"):
        assert "SCLBD/DeepfakeBench README.md" in (tmp_path / name).read_text(encoding="utf-8")
    ours = make_board([run], metrics=["frame_auroc"], resamples=0)  # against LNCLIP-DF, a row of video AUROCs
    assert "(96.5, " in markdown(ours) and all("(" not in text for text in frame_rows(ours)[1][2:])
    assert frame_rows(make_board([run], resamples=0)) == []
    with pytest.raises(LNCLIPError, match="Xception has only frame AUROCs; add frame_auroc to the metrics"):
        make_board([run], against="Xception")


def test_compare_takes_the_frames_of_a_run(run):
    report = compare(run, "Xception")
    rows = {row[0]: row[1:] for row in report.figures}
    value = frame_auroc(run, "DFDCP")
    assert rows["DFDCP"][:3] == [f"{value:.2f}", "73.74", f"{value - 73.74:+.2f}"]
    assert rows["FF-c40"][:3] == ["–", "82.61", "–"] and rows["cross-dataset mean"][2] == "–"
    assert report.figures[0][0] == "column (frame AUROC)" and "none is known" in str(report)


@pytest.mark.parametrize(
    ("trained", "compared"), [(None, False), ("", False), ("FaceForensics++", True), ("FF|mine", True), ("DFDC", False)]
)
def test_a_mean_is_compared_only_with_a_known_training_set(tmp_path, trained, compared):
    file = write_csv(tmp_path / "other.csv", {*EIGHT, *reference().benchmarks}, trained)
    (row,) = make_board([file], metrics=["frame_auroc"], resamples=0).rows
    for name, mean in (("LNCLIP-DF", row.cross_dataset), ("Xception", frame_mean(row))):
        figure, difference = published_mean(reference().row(name), row.run, mean)
        assert mean.auroc.value == pytest.approx(0.75) and (figure is not None) == bool(trained)
        assert difference == (pytest.approx(75 - figure) if compared else None)
        assert ("DFDC" in mean.datasets) == (trained != "DFDC")  # a training set is in no cross-dataset mean


def test_what_a_csv_was_trained_on_is_one_and_the_same(tmp_path):
    file = write_csv(tmp_path / "other.csv", ["DFDC", "KoDF"], "FF | mine")
    assert read_run(file).train_datasets == {"FaceForensics++", "mine"}
    file.write_text(file.read_text().replace("KoDF,a,0,0.1,FF | mine", "KoDF,a,0,0.1,FF"))
    with pytest.raises(LNCLIPError, match=r"other\.csv: train_dataset is 'FF' and 'FF \| mine'; a file is one"):
        read_run(file)


def test_the_record_of_a_csv_names_its_training_set(tmp_path):
    board = make_board([write_csv(tmp_path / "other.csv", ["DFDC"], "FF")], resamples=0)
    write_board(board, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "figures.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0]["trained_on"] == "FaceForensics++"


def test_another_level_of_faceforensics_is_in_no_cross_dataset_mean(tmp_path):
    (row,) = make_board([write_csv(tmp_path / "other.csv", ["FF-c40", "mine"])], resamples=0).rows
    assert set(row.cells) == {"FaceForensics++-c40", "mine"} and row.cross_dataset.datasets == ("mine",)
