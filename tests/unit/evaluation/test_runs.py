"""Runs as they are read from a folder."""

from runs import run_facts, write_dataset

from lnclip_df.core.files import write_json
from lnclip_df.evaluation.runs import read_run


def test_the_metrics_file_adds_to_the_record_only_where_it_is_of_the_same_test(tmp_path):
    write_dataset(tmp_path, "KoDF", ["KoDF_real", "KoDF_fake"])
    write_json(tmp_path / "metrics" / "KoDF.json", run_facts(skipped_frames=["x"]))
    assert read_run(tmp_path).provenance["KoDF"].skipped_frames == ["x"]
    write_json(tmp_path / "metrics" / "KoDF.json", run_facts("c", skipped_frames=["x"]))
    assert read_run(tmp_path).provenance["KoDF"].skipped_frames is None
