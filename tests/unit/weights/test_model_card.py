"""Model cards: they say what the weights' metadata and the given tests hold, to the digit, and nothing else."""

import re

import pytest
import yaml
from released import Released, tiny_config, tiny_detector
from safetensors.torch import save_file
from typer.testing import CliRunner

from lnclip_df import LNCLIPError, cli, load_config
from lnclip_df.core.files import sha256, write_json
from lnclip_df.weights import load_weights, save_weights
from lnclip_df.weights.export import export
from lnclip_df.weights.facts import Facts
from lnclip_df.weights.model_card import model_card

METRIC = {"auroc": 0.9653061224489796, "ap": 0.9712345678901234, "eer": 0.125, "accuracy": 0.875}
FACTS = {
    "epoch": 4, "seed": 7, "metric": METRIC, "crops": {"5db154f557": 120},
    "selection": "highest video AUROC on LNCLIP-val (val)",
}  # fmt: skip
TEST = {
    "dataset": "Celeb-DF-v2", "split": "test", "videos": 518, "frames": 16570, "skipped_frames": ["a.png"],
    "crops": {"5db154f557": 120}, "versions": {"torch": "2.15.0"},
    "video": {"auroc": 0.9123456789012345, "ap": 0.95, "eer": 0.1428571428571428, "accuracy": None},
}  # fmt: skip


@pytest.fixture
def trained(tmp_path):
    """The file of a trained detector."""
    path = tmp_path / "trained.safetensors"
    save_weights(tiny_detector(), path, FACTS | {"config": tiny_config().to_dict()})
    return path


@pytest.fixture
def tested(tmp_path, trained):
    """The metrics of a test of that file."""
    path = tmp_path / "metrics" / "Celeb-DF-v2.json"
    write_json(path, TEST | {"weights": {"sha256": sha256(trained)}})
    return path


def facts(**more):
    tower = {"layers": 24, "width": 1024, "image_size": 224, "patch_size": 14, "quick_gelu": True, "normalize": True}
    return Facts(**{"lnclip_df": "0.1.0", "format": "full", "backbone": tower, "origin": "lnclip-df, delta"} | more)


def front_of(card):
    """The card's front matter, and the Markdown below it."""
    _, front, body = re.split(r"^---\n", card, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), body


def cells_of(body, dataset):
    """The cells of a dataset's rows in the table of figures."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in body.splitlines() if f"| `{dataset}` |" in line
    ]


def test_the_figures_are_those_of_the_metadata_and_the_test_to_the_digit(trained, tested, tmp_path):
    export(
        trained, tmp_path / "w.safetensors", "full", tiny_config(), card=tmp_path / "card.md", metrics=[tested.parent]
    )
    front, body = front_of((tmp_path / "card.md").read_text(encoding="utf-8"))
    validation, test = front["model-index"][0]["results"]
    assert validation["dataset"] == {"type": "LNCLIP-val", "name": "LNCLIP-val", "split": "val"}
    assert [metric["value"] for metric in validation["metrics"]] == list(METRIC.values())
    assert [(metric["type"], metric["value"]) for metric in test["metrics"]] == [
        ("roc_auc", 0.9123456789012345), ("average_precision", 0.95), ("equal_error_rate", 0.1428571428571428)
    ]  # fmt: skip
    assert cells_of(body, "LNCLIP-val") == [["`LNCLIP-val`", "val", "–", "–", "0.9653", "0.9712", "0.1250", "0.8750"]]
    assert cells_of(body, "Celeb-DF-v2") == [
        ["`Celeb-DF-v2`", "test", "518", "16570", "0.9123", "0.9500", "0.1429", "–"]
    ]
    assert "1 frames could not be read" in body and "`torch 2.15.0`" in body


def test_the_hub_reads_the_card_and_its_figures(trained, tested, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    export(trained, tmp_path / "w.safetensors", "delta", tiny_config(), card=tmp_path / "card.md", metrics=[tested])
    card = hub.ModelCard.load(tmp_path / "card.md")
    figures = [(r.dataset_name, r.dataset_split, r.metric_type, r.metric_value) for r in card.data.eval_results]
    assert ("LNCLIP-val", "val", "roc_auc", METRIC["auroc"]) in figures and len(figures) == 7
    assert card.data.model_name == "w" and card.data.library_name == "lnclip-df" and card.data.license is None


def test_a_card_without_a_figure_states_none():
    front, body = front_of(model_card("w", facts()))
    assert "model-index" not in front and "metrics" not in front
    assert "No figure is recorded" in body and not re.search(
        r"0\.\d{2}|\d %", body.split("## Limitations")[0].split("## Evaluation")[1]
    )


def test_weights_of_somebody_else_are_given_no_training(tmp_path):
    save_file(Released().state(), tmp_path / "model.safetensors")
    out = export(
        tmp_path / "model.safetensors", tmp_path / "w.safetensors", "full", tiny_config(), card=tmp_path / "c.md"
    )
    front, body = front_of((tmp_path / "c.md").read_text(encoding="utf-8"))
    assert "from: GenD, transformers layout" in body and "the choice of the epoch: not recorded in the weights" in body
    assert "FaceForensics++" not in body and "base_model" not in front
    export(out, tmp_path / "again.safetensors", "full", tiny_config(), card=tmp_path / "again.md")
    assert "FaceForensics++" not in (tmp_path / "again.md").read_text(encoding="utf-8")


def test_training_is_told_from_what_training_recorded():
    front, body = front_of(model_card("w", facts(**FACTS), trained=load_config("lnclip.yaml")))
    assert front["base_model"] == "openai/clip-vit-large-patch14"
    assert "| training data | `FaceForensics++` |" in body and "| `lnclip.tune` | `layernorm` |" in body
    assert "| `lnclip.residual` | `fp32` |" in body
    _, body = front_of(model_card("w", facts(**FACTS), trained=load_config("gend/clip.yaml")))
    assert "| `lnclip.train_frames` | `random` |" in body and "repeat_warmup: false" in body
    assert "| epoch, from 0 | 4 |" in body and "| crops, by recipe | `5db154f557` |" in body


def test_another_base_than_openais_is_not_called_theirs():
    for override in ("lnclip.backbone.pretrained=none", "lnclip.backbone.name=ViT-L-14"):
        front, _ = front_of(model_card("w", facts(**FACTS), trained=load_config("lnclip.yaml", [override])))
        assert "base_model" not in front


def test_a_delta_names_the_hash_of_the_weights_that_it_needs(trained, tmp_path):
    out = export(trained, tmp_path / "d.safetensors", "delta", tiny_config(), card=tmp_path / "card.md")
    digest = load_weights(tiny_detector(), out).facts.frozen["sha256"]
    assert f"`{digest}`" in (tmp_path / "card.md").read_text(encoding="utf-8")


def test_folders_of_the_machine_are_not_published():
    overrides = [
        "lnclip.backbone.pretrained=/home/jane/clip.safetensors",
        "lnclip.start_from=/home/jane/old.safetensors",
    ]
    config = load_config("lnclip.yaml", [*overrides, "lnclip.data_root=/home/jane/data"])
    frozen = {"name": "ViT", "pretrained": "/home/jane/clip.safetensors", "sha256": "ab"}
    card = model_card("w", facts(**FACTS, frozen=frozen), trained=config)
    assert "jane" not in card and "clip.safetensors" in card and "old.safetensors" in card


@pytest.mark.parametrize(
    "metric", [{"auroc": "0.99"}, {"auroc": True}, {"auroc": 1.5}, {"auroc": float("nan")}, "0.99", None]
)
def test_a_figure_that_is_none_is_not_shown(metric):
    front, body = front_of(model_card("w", facts(epoch=1, metric=metric)))
    assert "model-index" not in front and "0.99" not in body


def test_names_from_the_metadata_break_neither_front_matter_nor_tables():
    name = "a|b`\n---\n<script>"
    test = {"dataset": name, "split": name, "video": {"auroc": 0.5}, "crops": {name: 1}}
    known = facts(**FACTS | {"origin": name, "selection": name, "epoch": name})
    card = model_card(name, known, trained=load_config("lnclip.yaml"), tests=[test])
    front, body = front_of(card)
    assert front["model-index"][0]["results"][1]["dataset"]["name"] == "a|b`\\n---\\n<script>"
    assert card.count("\n---\n") == 1 and "<script>" not in re.sub(r"`[^`\n]*`", "", body)
    row = next(line for line in body.splitlines() if "0.5000" in line)
    assert row.replace("\\|", "").count("|") == 9


def test_the_folder_of_transformers_has_its_card(trained, tested, tmp_path):
    out = export(trained, tmp_path / "detector-1.0", "transformers", tiny_config(), metrics=[tested])
    front, body = front_of((out / "README.md").read_text(encoding="utf-8"))
    assert front["model-index"][0]["name"] == "detector-1.0" and "--weights THIS_FOLDER" in body
    assert load_weights(tiny_detector(), out).facts.epoch == 4


def test_each_format_is_used_in_its_own_way():
    used = {
        f: model_card("w", facts(format=f)).split("## How to use")[1] for f in ("delta", "full", "transformers", "onnx")
    }
    assert "THIS_FILE.safetensors" in used["delta"] and used["delta"] == used["full"]
    assert "THIS_FOLDER" in used["transformers"]
    assert "onnxruntime" in used["onnx"] and "lnclip-df predict" not in used["onnx"]


def test_figures_of_other_weights_are_refused_and_nothing_is_written(trained, tested, tmp_path):
    other = tmp_path / "other.safetensors"
    save_weights(tiny_detector(), other, FACTS | {"config": tiny_config().to_dict(), "seed": 8})
    with pytest.raises(LNCLIPError, match=r"Celeb-DF-v2\.json is of other weights"):
        export(other, tmp_path / "w.safetensors", "full", tiny_config(), card=tmp_path / "card.md", metrics=[tested])
    assert not (tmp_path / "w.safetensors").exists() and not (tmp_path / "card.md").exists()


def test_faults_of_the_options_are_one_line(trained, tested, tmp_path):
    out, config = tmp_path / "w.safetensors", tiny_config()
    (tmp_path / "empty").mkdir()
    with pytest.raises(LNCLIPError, match="metrics are written to a model card only; name a file for the card"):
        export(trained, out, "full", config, metrics=[tested])
    with pytest.raises(LNCLIPError, match=r"writes its model card to README\.md"):
        export(trained, tmp_path / "folder", "transformers", config, card=tmp_path / "card.md")
    with pytest.raises(LNCLIPError, match=r"contains no \.json file"):
        export(trained, out, "full", config, card=tmp_path / "card.md", metrics=[tmp_path / "empty"])
    write_json(tmp_path / "history.json", {"epochs": []})
    with pytest.raises(LNCLIPError, match="is not a metrics file of lnclip-df test"):
        export(trained, out, "full", config, card=tmp_path / "card.md", metrics=[tmp_path / "history.json"])


def test_the_command_writes_the_card(trained, tested, tmp_path):
    options = ["--format", "full", "--out", str(tmp_path / "w.safetensors"), "--card", str(tmp_path / "card.md")]
    result = CliRunner().invoke(cli.app, ["export", str(trained), *options, "--metrics", str(tested)])
    assert result.exit_code == 0, result.output
    assert len(front_of((tmp_path / "card.md").read_text(encoding="utf-8"))[0]["model-index"][0]["results"]) == 2
