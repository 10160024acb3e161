"""The published figures."""

from lnclip_df.evaluation.reference import reference


def test_every_published_figure_has_a_source_and_its_recipe_a_yaml():
    found = {name: {f.column: f.value for f in row.figures} for name, row in reference().rows.items()}
    assert found["LNCLIP-DF"] == {"CDFv2": 96.5, "DFD": 97.3, "DFDC": 87.0, "FFIW": 93.5, "mean": 94.2}
    assert found["ForAda"] == {"mean": 91.5} and found["Effort"] == {"mean": 90.6}
    ladder = [values for name, values in found.items() if name.startswith("ablation")]
    assert [values["mean"] for values in ladder] == [76.1, 90.8, 91.8, 92.1, 92.8]
    assert [values["CDFv2"] for values in ladder] == [78.8, 93.1, 94.5, 94.3, 96.5]
    assert all("arXiv" in figure.source for row in reference().rows.values() for figure in row.figures)
