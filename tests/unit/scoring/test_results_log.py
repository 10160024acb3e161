"""A row is reused only for the same input that was scored in the same way."""

from lnclip_df.scoring.results_log import ResultsLog


def test_what_was_scored_otherwise_is_scored_again(tmp_path):
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(b"")
    log = ResultsLog(tmp_path / "s.csv", {"threshold": 0.5})
    log.add(tmp_path / "one.mp4", {"score": 1})
    assert ResultsLog(tmp_path / "s.csv", {"threshold": 0.5}).row(tmp_path / "one.mp4") == {"score": 1}
    assert ResultsLog(tmp_path / "s.csv", {"threshold": 0.6}).row(tmp_path / "one.mp4") is None
    assert ResultsLog(tmp_path / "s.csv", {"threshold": 0.5}).row(tmp_path / "two.mp4") is None
