"""The command line: what it teaches, what it passes on, and its one-line errors."""

import os
import re
import subprocess
import sys
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from commands import call, error_of
from released import tiny_config, tiny_detector
from tiny import make_toy, toy_yaml

import lnclip_df
from lnclip_df import cli
from lnclip_df.weights import save_weights

COMMANDS = [
    "train", "test", "preprocess", "rearrange", "audit", "pairs", "datasets", "leaderboard", "compare", "calibrate",
    "coverage", "subgroups", "aggregate", "robustness", "export", "install", "uninstall", "doctor", "bench-run",
    "bench-test", "demo", "reproduce", "export-plugin", "configs", "models", "bank", "predict", "app", "lmdb", "pack",
]  # fmt: skip


def test_nothing_heavy_is_imported_for_help():
    heavy = {"torch", "lightning", "numpy", "pydantic", "yaml"}
    code = f"import sys, lnclip_df.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_nothing_that_scoring_does_not_need_is_imported_for_it(tmp_path):
    """Each of them takes between a tenth of a second and two seconds, and a single video is scored in less."""
    pytest.importorskip("retinaface")
    from clips import portrait, write_clip

    clip = write_clip(tmp_path / "clip.mp4", [portrait(shift, 160, 240) for shift in range(2)])
    save_weights(tiny_detector(), tmp_path / "w.safetensors", {"config": tiny_config().to_dict()})
    heavy = {
        "albumentations", "dlib", "gradio", "huggingface_hub", "lightning", "matplotlib", "open_clip", "pandas",
        "pyarrow", "rich", "scipy", "sklearn", "sympy", "tensorboard", "timm", "torch._dynamo", "torchvision",
        "transformers",
    }  # fmt: skip
    code = (
        f"import sys; from lnclip_df.cli import app; app({['predict', str(clip), '--weights']} + sys.argv[1:], "
        f"standalone_mode=False); print(sorted({heavy} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "w.safetensors"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "  2/2  " in done.stdout and done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    ("variable", "default", "other"), [("OMP_WAIT_POLICY", "PASSIVE", "ACTIVE"), ("OPENBLAS_THREAD_TIMEOUT", "4", "26")]
)
def test_waiting_threads_leave_their_core_unless_the_user_says_otherwise(monkeypatch, variable, default, other):
    monkeypatch.setenv(variable, other)
    assert call("configs").exit_code == 0
    assert os.environ[variable] == other
    monkeypatch.delenv(variable)
    assert call("configs").exit_code == 0
    assert os.environ[variable] == default


@pytest.mark.parametrize("command", ["test", "robustness"])
def test_weights_of_the_hub_have_no_folder_for_results(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / "abc123"
    save_weights(tiny_detector(), snapshot / "model.safetensors", {"config": tiny_config().to_dict()})
    (tmp_path / "hub" / "models--owner--name" / "refs").mkdir()
    (tmp_path / "hub" / "models--owner--name" / "refs" / "main").write_text("abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    result = call(command, "--weights", "owner/name", "--datasets", "mine")
    assert result.exit_code == 1
    assert result.stderr == "error: owner/name is fetched from the Hub: name a folder for the results with --out\n"
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_help_lists_every_command():
    result = call("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_shows_an_example(command):
    assert f"Example: lnclip-df {command}" in call(command, "--help").stdout


@pytest.mark.parametrize(
    "command", [[], ["train"], ["study"], ["study", "ablation"], ["dataset", "new"], ["bench-test"]]
)
def test_h_is_help(command):
    shown = call(*command, "-h")
    assert shown.exit_code == 0 and shown.stdout == call(*command, "--help").stdout


def test_the_shell_completes_commands():
    environment = {"_LNCLIP_DF_COMPLETE": "complete_bash", "COMP_WORDS": "lnclip-df pre", "COMP_CWORD": "1"}
    code = "from lnclip_df import cli; cli.app(prog_name='lnclip-df')"
    result = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True)
    assert result.stdout.split() == ["predict", "preprocess"] and not result.stderr


def all_commands(group=None, name=""):
    """Every command by name, with those of groups."""
    for key, command in (group or typer.main.get_command(cli.app)).commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{name}{key} ")
        else:
            yield name + key, command


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_every_help_text_is_a_full_phrase(name, command):
    for parameter in command.params:
        text = parameter.help
        assert text[0].isupper() and text.endswith((".", "…")), f"{name}: {text}"
        assert not text.startswith(("Of ", "As for ", "Its ")), f"{name}: {text}"


def choices_of(*hints):
    """The values of all Literals within type hints."""
    found = {value for hint in hints if get_origin(hint) is Literal for value in get_args(hint)}
    return found | {value for hint in hints if get_origin(hint) is not Literal for value in choices_of(*get_args(hint))}


@pytest.mark.parametrize(("name", "command"), list(all_commands()))
def test_help_shows_every_option_and_choice_whole_at_80_columns(monkeypatch, name, command):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    shown = call(*name.split(), "--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    wanted = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    wanted = {flag for flag in wanted if flag.startswith("-")} | choices_of(*get_type_hints(command.callback).values())
    wanted |= {parameter.metavar for parameter in command.params if parameter.metavar}
    assert not [text for text in wanted if not re.search(rf"{re.escape(text)}(?![\w…-])", shown)]
    cut = [line for line in shown.splitlines() if re.search(r"\w…", line)]
    assert not cut


def test_the_options_of_bench_test_are_spelt_in_both_ways(tmp_path):
    for spelling in ("--detector_path", "--detector-path"):
        assert "not a DeepfakeBench checkout" in call("bench-test", tmp_path, spelling, "x.yaml").stderr


@pytest.mark.parametrize("name", ["detector.onnx", "best.ckpt"])
@pytest.mark.parametrize("command", ["test", "predict", "export", "train"])
def test_an_onnx_file_is_said_to_be_an_export(tmp_path, monkeypatch, command, name):
    onnx = pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [result])), name)
    config = toy_yaml(make_toy(tmp_path))
    (tmp_path / "a.png").write_bytes(b"")
    arguments = {
        "test": ["--weights", name, "--datasets", "toy", "--config", config],
        "predict": ["a.png", "--weights", name],
        "export": [name, "--format", "full", "--out", "o.safetensors"],
        "train": ["--config", config, "--from", name, "--accelerator", "cpu", "--quiet"],
    }[command]
    assert "is an ONNX file, which is an export for other programs" in call(command, *arguments).stderr


def test_a_value_that_is_not_among_the_choices_is_a_usage_error_that_lists_them():
    result = call("predict", "clip.mp4", "--format", "xml")
    assert result.exit_code == 2
    assert all(word in result.stderr for word in ("--format", "'xml'", "'table'", "'csv'", "'jsonl'"))


def test_version():
    assert call("--version").stdout.strip() == f"lnclip-df {lnclip_df.__version__}"


def test_the_module_runs_as_the_command():
    result = subprocess.run([sys.executable, "-m", "lnclip_df", "--version"], capture_output=True, text=True)
    assert result.stdout.strip() == f"lnclip-df {lnclip_df.__version__}"


def test_configs_lists_the_packaged_ones():
    assert "lnclip.yaml" in call("configs").stdout.split()
    assert "reference.yaml" not in call("configs").stdout


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_yaml(make_toy(tmp_path_factory.mktemp("toy")), "nEpochs=0")


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    """A run's folder after ``train``."""
    out = tmp_path_factory.mktemp("runs") / "first"
    result = call("train", "--config", toy, "--out", out, "--accelerator", "cpu", "--quiet")
    assert result.exit_code == 0, result.output
    assert "1 epochs; best is epoch 0" in result.stderr
    return out


def test_train_then_test_then_leaderboard(run, tmp_path):
    tested = call("test", "--weights", run / "best.safetensors", "--device", "cpu", "--quiet")
    assert tested.exit_code == 0, tested.output
    assert tested.stdout.splitlines()[1].split()[:3] == ["toy", "12", "24"]
    assert (run / "predictions" / "toy.parquet").is_file()
    board = call("leaderboard", run, "--out", tmp_path)
    assert board.exit_code == 0, board.output
    assert "| first |" in board.stdout and str(tmp_path / "leaderboard.html") in board.stdout
    assert (tmp_path / "leaderboard.html").is_file()


def test_compare_says_what_a_run_did_otherwise_than_a_published_one(run):
    tested = call("test", "--weights", run / "best.safetensors", "--device", "cpu", "--quiet")
    assert tested.exit_code == 0, tested.output
    result = call("compare", run, "LNCLIP-DF")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:2] == ["first difference, first | LNCLIP-DF:", "  train_dataset: toy | FaceForensics++"]
    assert "  nEpochs: 0 | 19" in lines and not any("not recorded" in line for line in lines)
    assert "neither a run nor a published row" in error_of(call("compare", run, "LNCLIP"))


def test_leaderboards_errors_are_one_line(run, tmp_path):
    assert "no metric 'auc'" in error_of(call("leaderboard", run, "--out", tmp_path, "--metrics", "ap,auc"))
    (tmp_path / "a.csv").write_text("dataset,video,label,prob\nA,v,1,2\n")
    assert "prob is 2.0, not within 0..1" in error_of(call("leaderboard", tmp_path / "a.csv", "--out", tmp_path))


def test_resume_says_where_it_goes_on(run, toy):
    result = call("train", "--config", toy, "--set", "nEpochs=1", "--out", run, "--resume", "--quiet")
    assert result.exit_code == 0, result.output
    assert f"resuming {run} with epoch 1" in result.stderr


def test_a_typo_in_the_yaml_is_one_line(toy, tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text(toy.read_text().replace("uniformity", "uniformty"))
    assert "lnclip.loss.uniformty: unknown key (did you mean uniformity?)" in error_of(call("train", "--config", path))


def test_a_typo_in_an_override_is_one_line(toy):
    result = call("train", "--config", toy, "--set", "lnclip.slerp.enable=false")
    assert "lnclip.slerp.enable: unknown key (did you mean enabled?)" in error_of(result)


def test_weights_that_are_truncated_or_absent_are_one_line(run, tmp_path):
    weights = tmp_path / "best.safetensors"
    assert f"no weights file {weights}" in error_of(call("test", "--weights", weights, "--config", run / "config.yaml"))
    weights.write_bytes((run / "best.safetensors").read_bytes()[:5000])
    result = call("test", "--weights", weights, "--config", run / "config.yaml", "--quiet")
    assert str(weights) in error_of(result)


def test_an_unknown_data_set_is_one_line(run):
    result = call("test", "--weights", run / "best.safetensors", "--datasets", "toy,absent", "--quiet")
    assert "no dataset file" in error_of(result)


@pytest.mark.parametrize("room", ["install", "uninstall"])
def test_a_folder_that_is_no_checkout_is_one_line(room, tmp_path):
    error_of(call(room, tmp_path))


def test_doctor_exits_with_1_where_there_is_a_problem(tmp_path):
    result = call("doctor", tmp_path)
    assert result.exit_code == 1
    assert "problem" in result.stdout


def test_bench_run_passes_arguments_and_status_through(tmp_path, monkeypatch):
    import lnclip_df.bench.run_script as bench

    calls = []
    monkeypatch.setattr(bench, "bench_run", lambda *arguments: calls.append(arguments) or 7)
    result = call("bench-run", tmp_path, "--", "training/train.py", "--detector_path", "x.yaml", "--no-save_ckpt")
    assert result.exit_code == 7
    assert calls == [(tmp_path, ["training/train.py", "--detector_path", "x.yaml", "--no-save_ckpt"])]
