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


def test_shards_have_logs_of_their_own_and_read_those_of_each_other(tmp_path):
    names = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for path in names:
        path.write_bytes(b"")
    first, second = (ResultsLog(tmp_path / "s.csv", {}, f"{number}/2") for number in (1, 2))
    other = ResultsLog(tmp_path / "s.csv.gz", {}, "1/2")
    first.add(names[0], {"score": 1})
    second.add(names[1], {"score": 2})
    other.add(names[0], {"score": 3})
    assert first.row(names[1]) is None
    first.read()
    assert [ResultsLog(tmp_path / "s.csv", {}).row(path) for path in names] == [{"score": 1}, {"score": 2}]
    assert [first.row(path) for path in names] == [{"score": 1}, {"score": 2}]
    first.finish([], "csv")
    assert {path.name for path in tmp_path.iterdir() if path not in names} == {"s.csv", ".s.csv.gz.1-of-2.part"}


def test_the_row_after_one_that_was_cut_short_is_not_lost(tmp_path):
    names = [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    for path in names:
        path.write_bytes(b"")
    log = ResultsLog(tmp_path / "s.csv", {})
    log.add(names[0], {"score": 1})
    log.add(names[1], {"score": 2})
    log.pending.write_bytes(log.pending.read_bytes()[:-3])  # the disk was full
    log = ResultsLog(tmp_path / "s.csv", {})
    assert [log.row(path) for path in names] == [{"score": 1}, None, None]
    log.add(names[1], {"score": 3})
    log.add(names[2], {"score": 4})
    assert [ResultsLog(tmp_path / "s.csv", {}).row(path) for path in names] == [{"score": n} for n in (1, 3, 4)]
