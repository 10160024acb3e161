"""The published figures."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from host_modules import REAL
from pydantic import ValidationError

from lnclip_df.config.files import bench_configs
from lnclip_df.evaluation.reference import FrameTable, dataset_of, reference


def test_every_published_figure_has_a_source_and_its_recipe_a_yaml():
    found = {name: {f.column: f.value for f in row.figures} for name, row in reference().rows.items()}
    assert found["LNCLIP-DF"] == {"CDFv2": 96.5, "DFD": 97.3, "DFDC": 87.0, "FFIW": 93.5, "mean": 94.2}
    assert found["ForAda"] == {"mean": 91.5} and found["Effort"] == {"mean": 90.6}
    ladder = [values for name, values in found.items() if name.startswith("ablation")]
    assert [values["mean"] for values in ladder] == [76.1, 90.8, 91.8, 92.1, 92.8]
    assert [values["CDFv2"] for values in ladder] == [78.8, 93.1, 94.5, 94.3, 96.5]
    assert all("arXiv" in figure.source for row in reference().rows.values() for figure in row.figures)


def typed():
    """DeepfakeBench's table as it stands in the YAML, in %: rows by name."""
    return yaml.safe_load((bench_configs() / "reference.yaml").read_text(encoding="utf-8"))["frames"]


def test_the_means_of_deepfakebenchs_rows_are_those_of_their_figures():
    """Of the README's 15 x 16 figures 30 are means, to four digits: a mistyped figure would not fit its mean."""
    rows = np.array(list(typed()["rows"].values()))
    assert rows.shape == (15, 16)
    assert np.abs(rows[:, :6].mean(axis=1) - rows[:, 6]).max() < 0.0065  # in %
    assert np.abs(rows[:, 7:15].mean(axis=1) - rows[:, 15]).max() < 0.0065


def test_deepfakebenchs_figures_are_found_by_column():
    row = reference().row("Xception")
    assert (
        row.metric == "frame_auroc" and row.mean_over == 8 and not set(reference().frames.rows) & set(reference().rows)
    )
    found = {figure.column: figure.value for figure in row.figures}
    assert found.items() >= {"FF": 96.37, "NT": 93.85, "CDFv1": 77.94, "DF-1.0": 83.41, "DFDCP": 73.74}.items()
    assert (found["in-dataset mean"], found["mean"]) == (94.5, 77.18)
    names = [dataset_of(column) for column in ("CDFv1", "DF-1.0", "DFDCP", "FSh")]
    assert names == ["Celeb-DF-v1", "DeeperForensics-1.0", "DFDCP", "FaceShifter"]


@pytest.mark.skipif(not REAL, reason="LNCLIP_DEEPFAKEBENCH names no checkout")
def test_deepfakebenchs_figures_are_those_of_its_readme():
    lines = Path(REAL, "README.md").read_text(encoding="utf-8").splitlines()
    cells = [re.sub(r"[*\s]*\|[*\s]*", "|", line).strip("|").split("|") for line in lines]
    theirs = {row[1]: row[3:10] + row[11:20] for row in cells if row[0] in ("Naive", "Spatial", "Frequency")}
    assert {name: [f"{value / 100:.4f}" for value in values] for name, values in typed()["rows"].items()} == theirs


def test_a_row_with_a_figure_too_few_is_refused():
    with pytest.raises(ValidationError, match=r"rows\.x: 3 figures; expected 4"):
        FrameTable(source="s", in_dataset=["FF"], cross_dataset=["DFDC"], rows={"x": [1, 2, 3]})
