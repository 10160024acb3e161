"""The studies on the command line: tables on stdout, errors in one line."""

import pytest
from commands import call


def write_run(path, videos):
    """Another tool's predictions: so many videos of 4 frames a class."""
    rows = [
        f"toy,{kind}{v},{label},{min(1, 0.03 * v + 0.3 * label + 0.01 * f):.3f},{f}"
        for label, kind in enumerate(("real", "fake"))
        for v in range(videos)
        for f in range(4)
    ]
    path.write_text("dataset,video,label,prob,frame\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run.csv", 20)


@pytest.mark.parametrize("command", ["leaderboard", "compare", "aggregate", "coverage", "calibrate", "subgroups"])
@pytest.mark.parametrize(("videos", "few"), [(19, True), (20, False)])
def test_every_command_with_a_figure_says_where_videos_are_few(tmp_path, command, videos, few):
    run = write_run(tmp_path / "run.csv", videos)
    every = [(kind, v, label) for label, kind in enumerate(("real", "fake")) for v in range(videos)]
    table = tmp_path / "table.csv"
    rows = [f"toy,{kind}{v},{label},4,4,here" for kind, v, label in every]
    table.write_text("dataset,video,label,frames_asked,frames_found,place\n" + "\n".join(rows) + "\n")
    options = {
        "compare": [run],
        "coverage": ["--found", table],
        "calibrate": ["--validation", run],
        "subgroups": ["--attributes", table, "--by", "place", "--threshold", "0.5"],
    }.get(command, [])
    options += [] if command == "compare" else ["--out", tmp_path / "out"]
    shown = call(command, run, *options)
    assert shown.exit_code == 0, shown.output
    assert ("(few)" in shown.stdout) == ("fewer than 20 videos of a class" in shown.stdout) == few


def test_calibrate_then_subgroups_with_its_threshold(run, tmp_path):
    out = tmp_path / "calibration"
    made = call("calibrate", run, "--validation", run, "--out", out, "--fpr", "0.1")
    assert made.exit_code == 0 and "Temperature" in made.stdout, made.output
    table = tmp_path / "people.csv"
    table.write_text("video,sex\n" + "".join(f"{k}{v},{'fm'[v % 2]}\n" for k in ("real", "fake") for v in range(20)))
    options = ["--attributes", table, "--by", "sex", "--least", "3", "--resamples", "50", "--out", tmp_path / "groups"]
    shown = call("subgroups", run, *options, "--calibration", out / "calibration.json")
    assert shown.exit_code == 0 and "largest gap" in shown.stdout and "(few)" in shown.stdout, shown.output


def test_aggregate_and_coverage_print_their_tables(run, tmp_path):
    shown = call("aggregate", run, "--resamples", "50", "--out", tmp_path / "a")
    assert shown.exit_code == 0 and "| median " in shown.stdout, shown.output
    found = tmp_path / "found.csv"
    rows = [f"toy,{kind}{v},{label},4,4\n" for label, kind in enumerate(("real", "fake")) for v in range(20)]
    found.write_text("dataset,video,label,frames_asked,frames_found\n" + "".join(rows) + "toy,lost,1,4,0\n")
    shown = call("coverage", run, "--found", found, "--resamples", "50", "--out", tmp_path / "c")
    assert shown.exit_code == 0 and "1 fakes" in shown.stdout, shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "RUN"], "give a folder for the results (out)"),
        (["coverage", "RUN"], "--found"),
        (["coverage", "RUN", "--manifest", "m.csv"], "--dataset"),
        (["subgroups", "RUN", "--attributes", "no.csv", "--by", "sex"], "no threshold"),
        (["aggregate", "absent"], "predictions"),
        (["robustness", "--weights", "absent.pt", "--datasets", "a"], "no weights file absent.pt"),
    ],
)
def test_errors_are_one_line(run, arguments, message):
    result = call(*(run if argument == "RUN" else argument for argument in arguments))
    assert result.exit_code == 1, result.output
    assert len(result.stderr.splitlines()) == 1 and message in result.stderr
