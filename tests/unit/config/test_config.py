"""The YAML is read as DeepfakeBench reads it, and every wrong key is one line with its path."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lnclip_df import LNCLIPError, load_config
from lnclip_df.config.files import bench_configs
from lnclip_df.config.roles import UNKNOWN, Role
from lnclip_df.config.schema import Config, role_of
from lnclip_df.config.validation import section_of

PACKAGED = ["lnclip.yaml", *sorted(f"ablation/{p.name}" for p in (bench_configs() / "ablation").glob("*.yaml"))]


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_detector_yaml_is_valid_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(name)
    assert config.model_name == "lnclip" and config.lr_scheduler is None
    assert config.label_dict["FF-DF"] == 1 and config.label_dict["FF-real"] == 0


def test_the_default_is_the_papers():
    ours = load_config("lnclip.yaml").to_dict()["lnclip"]
    assert ours["backbone"]["name"] == "ViT-L-14-quickgelu" and ours["backbone"]["pretrained"] == "openai"
    assert ours["loss"] == {"ce": 1.0, "alignment": 0.1, "uniformity": 0.5, "temperature": 2.0, "half_squared": False}
    assert ours["slerp"] == {"enabled": True, "batch_size": 1024, "t_range": [0.0, 1.0]}
    cycle = {"warmup_epochs": 1.0, "decay_epochs": 9.0, "repeat_warmup": True}
    assert ours["schedule"] == {**cycle, "lr_min": 1e-5, "lr_max": 3e-4}
    assert (ours["train_frames"], ours["drop_last"]) == ("even", True)


@pytest.mark.parametrize("name", PACKAGED[1:])
def test_an_ablation_differs_from_the_method_in_the_ablated_keys_alone(name):
    def flat(tree, prefix=""):
        for key, value in tree.items():
            yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]

    method, ablation = (dict(flat(load_config(yaml).to_dict())) for yaml in ("lnclip.yaml", name))
    assert {key for key in method if method[key] != ablation[key]} <= {
        "lnclip.tune", "lnclip.normalize", "lnclip.loss.alignment", "lnclip.loss.uniformity", "lnclip.slerp.enabled",
    }  # fmt: skip


def test_overrides_are_dotted_yaml():
    config = load_config(
        "lnclip.yaml", ["lnclip.slerp.enabled=false", "lnclip.schedule.lr_min=1e-6", "train_dataset=[A, B]"]
    )
    assert config.lnclip.slerp.enabled is False
    assert config.lnclip.schedule.lr_min == 1e-6
    assert config.train_dataset == ["A", "B"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lnclip.loss.aligment=1", ["lnclip.loss.aligment", "did you mean alignment"]),
        ("lnclip.los.ce=1", ["lnclip.los", "did you mean loss"]),
        ("resolutoin=3", ["resolutoin", "did you mean resolution"]),
        ("lnclip.tune=some", ["lnclip.tune", "layernorm", "'some'"]),
        ("lnclip.loss.ce=abc", ["lnclip.loss.ce", "number", "'abc'"]),
        ("lnclip.normalize=false", ["normalize", "slerp.enabled"]),
        ("lnclip.slerp.batch_size=64", ["lnclip.slerp.batch_size 64", "train_batchSize 128"]),
        ("lnclip.slerp.t_range=[0.9, 0.1]", ["lnclip.slerp.t_range"]),
        ("lnclip.schedule={decay_epochs: 0, repeat_warmup: false}", ["lnclip.schedule", "decay_epochs"]),
        ("lnclip.train_frames=all", ["lnclip.train_frames", "even", "random", "'all'"]),
        ("lr_scheduler=cosine", ["lr_scheduler", "cosine"]),
        ("train_batchSize=0", ["train_batchSize", "greater than"]),
        ("lnclip.loss=3", ["lnclip.loss"]),
        ("nonsense", ["nonsense", "key=value"]),
        ("a.b=[", ["a.b=["]),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_its_path(override, words):
    with pytest.raises(LNCLIPError) as caught:
        load_config("lnclip.yaml", [override])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_yaml_that_is_none_is_named_with_its_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1,\nb: 2")
    with pytest.raises(LNCLIPError, match=r"bad\.yaml.*line"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(LNCLIPError, match="mapping"):
        load_config(tmp_path / "list.yaml")
    with pytest.raises(LNCLIPError, match=r"nowhere\.yaml.*lnclip\.yaml"):
        load_config("nowhere.yaml")


def test_yaml_runs_no_code(tmp_path):
    (tmp_path / "evil.yaml").write_text(f"a: !!python/object/apply:os.system ['touch {tmp_path}/ran']")
    with pytest.raises(LNCLIPError, match="not YAML"):
        load_config(tmp_path / "evil.yaml")
    assert not (tmp_path / "ran").exists()


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
        max_leaves=8,
    )
)
@pytest.mark.slow
def test_any_value_under_any_key_is_taken_or_refused_in_one_line(value):
    import tempfile
    from pathlib import Path

    raw = yaml.safe_load((bench_configs() / "lnclip.yaml").read_text()) | {"lnclip": {"loss": value}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.yaml")
        path.write_text(yaml.safe_dump(raw))
        try:
            assert load_config(path).lnclip.loss.ce > 0
        except LNCLIPError as error:
            assert "\n" not in str(error)


def fields_without_role(model, prefix=""):
    """Dotted keys of a section whose role neither they nor a section around them state."""
    for name, field in model.model_fields.items():
        if not any(isinstance(entry, Role) for entry in field.metadata):
            section = section_of(field.annotation)
            yield from fields_without_role(section, f"{prefix}{name}.") if section else [prefix + name]


def test_every_key_has_a_role():
    assert list(fields_without_role(Config)) == []


def test_a_key_without_a_role_counts_as_changing_predictions():
    assert role_of("lnclip.of_the_future") == role_of("of_the_future") == UNKNOWN
    assert UNKNOWN.predicts and UNKNOWN.trains and UNKNOWN.fixed


def test_roles_are_inherited_from_the_section_and_overridden_by_the_key():
    assert role_of("lnclip.loss.ce").trains and not role_of("lnclip.loss.ce").predicts
    assert role_of("frame_num.test").predicts and not role_of("frame_num.train").predicts
    assert role_of("lnclip.backbone.vision.width").predicts
    assert not role_of("optimizer.adam.lr").trains  # the rate comes from lnclip.schedule


def test_predictions_depend_on_the_input_the_model_and_where_the_frames_lie():
    assert set(load_config("lnclip.yaml").predicting()) == {
        "compression", "rgb_dir", "lmdb", "lmdb_dir", "frame_num", "resolution", "mean", "std", "lnclip.backbone",
        "lnclip.normalize", "lnclip.precision", "lnclip.residual", "lnclip.resize", "lnclip.missing_frames",
        "lnclip.data_root",
    }  # fmt: skip


def test_a_configuration_is_frozen_and_replaced_by_a_validated_copy():
    config = load_config("lnclip.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.workers = 3
    other = config.replace({"lnclip.slerp.enabled": False, "workers": 3})
    assert (other.lnclip.slerp.enabled, other.workers) == (False, 3) and config.lnclip.slerp.enabled
    with pytest.raises(LNCLIPError, match=r"lnclip\.slerp\.enable: unknown key \(did you mean enabled\?\)"):
        config.replace({"lnclip.slerp.enable": False})


def test_a_yaml_extends_one_beside_it_or_a_packaged_one(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: lnclip.yaml\nworkers: 1\nlnclip: {loss: {ce: 2.0}}\n")
    (tmp_path / "more.yaml").write_text("extends: mine.yaml\nlnclip: {loss: {alignment: 0.3}}\n")
    config = load_config(tmp_path / "more.yaml")
    assert config == load_config("lnclip.yaml", ["workers=1", "lnclip.loss={ce: 2.0, alignment: 0.3, uniformity: 0.5}"])
    (tmp_path / "loop.yaml").write_text("extends: loop.yaml\n")
    with pytest.raises(LNCLIPError, match="leads back to the same file"):
        load_config(tmp_path / "loop.yaml")
    (tmp_path / "lost.yaml").write_text("extends: nowhere.yaml\n")
    with pytest.raises(LNCLIPError, match=r"no config nowhere\.yaml"):
        load_config(tmp_path / "lost.yaml")
