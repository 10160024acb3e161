"""Install and uninstall in a DeepfakeBench checkout: nothing of the user's is lost, and every byte comes back."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from checkouts import CONFIGS, DETECTORS, make_checkout
from host_modules import REAL

from lnclip_df.bench.edits import MARK, our_labels
from lnclip_df.bench.install import install, our_files, uninstall
from lnclip_df.config.files import bench_configs
from lnclip_df.config.loading import labels, read_config
from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError

pytestmark = pytest.mark.slow

USERS_LINES = (b"# mine\n", b"\r\n", "# öß  \n".encode(), b"# lnclip-df is mine\n")


def snapshot(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(params=["\r\n", "\n"], ids=["crlf", "lf"])
def checkout(request, tmp_path):
    return make_checkout(tmp_path / "bench", request.param)


@pytest.fixture
def real_checkout(tmp_path):
    if not REAL:
        pytest.skip("LNCLIP_DEEPFAKEBENCH names no checkout")
    subprocess.run(["git", "clone", "-q", REAL, tmp_path / "real"], check=True)
    return tmp_path / "real"


def test_uninstall_restores_every_byte(checkout):
    before = snapshot(checkout)
    install(checkout)
    assert snapshot(checkout) != before
    uninstall(checkout)
    assert snapshot(checkout) == before


def test_installing_twice_changes_nothing(checkout):
    assert install(checkout)
    once = snapshot(checkout)
    assert install(checkout) == ""
    assert snapshot(checkout) == once


def test_uninstalling_twice_changes_nothing(checkout):
    install(checkout)
    assert uninstall(checkout)
    assert uninstall(checkout) == ""


def test_the_users_yaml_in_the_working_folder_is_not_read(checkout, monkeypatch):
    """The training YAMLs extend the packaged ``lnclip.yaml``, also where an edited one lies in the working folder."""
    install(checkout)
    path = checkout / "lnclip.yaml"
    path.write_text(path.read_text().replace("train_batchSize: 128", "train_batchSize: 8"))
    monkeypatch.chdir(checkout)
    assert install(".").splitlines() == ["kept lnclip.yaml: it was edited, or is not lnclip-df's (--force overrides)"]


def test_dry_run_writes_nothing_and_says_the_same(checkout):
    before = snapshot(checkout)
    plan = install(checkout, dry_run=True)
    assert snapshot(checkout) == before
    assert plan == install(checkout)
    installed = snapshot(checkout)
    plan = uninstall(checkout, dry_run=True)
    assert snapshot(checkout) == installed
    assert plan == uninstall(checkout)


def test_the_diff_names_every_file(checkout):
    plan = install(checkout)
    for name in (DETECTORS, *CONFIGS, *our_files()):
        assert name in plan
    assert "+from .lnclip_detector import LNCLIPDetector" in plan


def test_every_training_yaml_is_installed_whole(checkout):
    install(checkout)
    placed = {path.name: path for path in (checkout / "training/config/detector").glob("lnclip*.yaml")}
    prefixes = {"ablation": "lnclip_", "training": "lnclip_", "gend": "lnclip_gend_"}
    ours = {
        f"{prefix}{path.name}": path for room, prefix in prefixes.items() for path in (bench_configs() / room).iterdir()
    }
    assert set(placed) == {"lnclip.yaml", *ours}
    assert {"lnclip_ffpp.yaml", "lnclip_ffiw.yaml", "lnclip_dsv2.yaml"} < set(placed)
    for name, path in ours.items():
        installed = yaml.safe_load(placed[name].read_text())
        assert Config.from_dict(installed) == Config.from_dict(read_config(path)) and "extends" not in installed
        assert installed.keys() == yaml.safe_load((bench_configs() / "lnclip.yaml").read_text()).keys()


def test_labels_are_in_both_dictionaries(checkout):
    install(checkout)
    for name in CONFIGS:
        labels = yaml.safe_load((checkout / name).read_text())["label_dict"]
        assert our_labels().items() <= labels.items()
        assert {"FF-real": 0, "roop_Fake": 1}.items() <= labels.items()


def test_line_ends_stay_uniform(checkout):
    crlf = b"\r\n" in (checkout / DETECTORS).read_bytes()
    install(checkout)
    for name in (DETECTORS, *CONFIGS):
        data = (checkout / name).read_bytes()
        assert data.count(b"\r\n") == (data.count(b"\n") if crlf else 0)
    assert not (checkout / CONFIGS[1]).read_bytes().endswith(b"\n")


def test_file_modes_survive(checkout):
    (checkout / DETECTORS).chmod(0o755)
    install(checkout)
    assert (checkout / DETECTORS).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.slow
def test_edits_made_in_between_survive(tmp_path, seed):
    """Any lines that the user adds or drops between install and uninstall: the same edits on a never installed copy."""
    draw = random.Random(seed)
    end = draw.choice(["\r\n", "\n"])
    edited, plain = make_checkout(tmp_path / "edited", end), make_checkout(tmp_path / "plain", end)
    install(edited)
    for name in (DETECTORS, *CONFIGS):
        lines = (edited / name).read_bytes().splitlines(keepends=True)
        for _ in range(draw.randrange(4)):
            ours = [line.rstrip().endswith(MARK.strip().encode()) for line in lines]
            position = draw.randrange(len(lines))
            action = draw.choice(["add", "drop"])
            if action == "add":
                lines.insert(position, draw.choice(USERS_LINES))
            elif not ours[position]:
                del lines[position]
        (edited / name).write_bytes(b"".join(lines))
        kept = [line for line in lines if not line.rstrip(b"\r\n").endswith(MARK.encode())]
        (plain / name).write_bytes(b"".join(kept))
    uninstall(edited)
    assert snapshot(edited) == snapshot(plain)


def test_an_edited_file_is_kept_and_named(checkout):
    install(checkout)
    mine = checkout / "lnclip.yaml"
    mine.write_text(mine.read_text() + "# mine\n")
    content = mine.read_bytes()
    assert install(checkout).splitlines() == [
        "kept lnclip.yaml: it was edited, or is not lnclip-df's (--force overrides)"
    ]
    assert "kept lnclip.yaml" in uninstall(checkout)
    assert mine.read_bytes() == content


def test_force_overrides_an_edited_file(checkout):
    before = snapshot(checkout)
    install(checkout)
    fresh = (checkout / "lnclip.yaml").read_bytes()
    (checkout / "lnclip.yaml").write_text("mine: 1\n")
    install(checkout, force=True)
    assert (checkout / "lnclip.yaml").read_bytes() == fresh
    (checkout / "lnclip.yaml").write_text("mine: 1\n")
    uninstall(checkout, force=True)
    assert snapshot(checkout) == before


def test_a_file_of_the_users_own_is_kept(checkout):
    (checkout / "lnclip.yaml").write_text("mine: 1\n")
    before = snapshot(checkout)
    assert "kept lnclip.yaml" in install(checkout)
    assert "kept lnclip.yaml" in uninstall(checkout)
    assert snapshot(checkout) == before


def test_a_copy_of_our_yaml_under_another_name_is_the_users(checkout):
    install(checkout)
    copy = checkout / "training/config/detector/lnclip_mine.yaml"
    shutil.copy(checkout / "lnclip.yaml", copy)
    assert "kept training/config/detector/lnclip_mine.yaml" in uninstall(checkout, force=True)
    assert copy.is_file()


def test_our_files_with_converted_line_ends_are_still_ours(checkout):
    before = snapshot(checkout)
    install(checkout)
    path = checkout / "lnclip.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert install(checkout) == ""
    uninstall(checkout)
    assert snapshot(checkout) == before


def test_a_label_that_is_there_already_is_not_repeated(checkout):
    path = checkout / CONFIGS[0]
    path.write_bytes(path.read_bytes().replace(b"  FF-real", b"  FFIW_real: 0\n  FF-real"))
    before = snapshot(checkout)
    install(checkout)
    assert path.read_bytes().count(b"FFIW_real") == 1
    uninstall(checkout)
    assert snapshot(checkout) == before


def test_missing_labels_are_completed(checkout):
    install(checkout)
    path = checkout / CONFIGS[0]
    whole = path.read_bytes()
    path.write_bytes(b"".join(line for line in whole.splitlines(keepends=True) if b"FFIW" not in line))
    assert "FFIW_fake" in install(checkout)
    assert our_labels().items() <= yaml.safe_load(path.read_text())["label_dict"].items()


def in_detectors(checkout, old, new):
    path = checkout / DETECTORS
    data = path.read_bytes()
    end = b"\r\n" if b"\r\n" in data else b"\n"
    assert data.count(old.encode()) == 1
    path.write_bytes(data.replace(old.encode(), new.encode().replace(b"\n", end)))


PLAIN = "from .lnclip_detector import LNCLIPDetector"
LINE = f"{PLAIN}{MARK}"


@pytest.mark.parametrize(
    ("dress", "left"),
    [
        (PLAIN, None),
        (f"{PLAIN} # lnclip-df", None),
        (f"{PLAIN}  # noqa: F401", None),
        ("from .lnclip_detector import (\n    LNCLIPDetector,  # lnclip-df\n)", None),
        ("from detectors.lnclip_detector import LNCLIPDetector as Ours", None),
        ("from . import lnclip_detector", None),
        (f"{PLAIN}\n{PLAIN}", None),
        ("from . import lnclip_detector, other", "from . import other"),
        (f"{PLAIN}; import os", "pass; import os"),
        (f"try:\n    {PLAIN}\nexcept ImportError:\n    x = 1", "try:\n    pass\nexcept ImportError:\n    x = 1"),
    ],
)
def test_our_import_goes_in_whatever_dress(checkout, dress, left):
    """The shim goes too: an import that stayed would stop every detector."""
    before = (checkout / DETECTORS).read_bytes()
    install(checkout)
    in_detectors(checkout, LINE, dress)
    assert install(checkout) == ""  # recognised as installed
    uninstall(checkout)
    after = (checkout / DETECTORS).read_bytes()
    if left is None:
        assert after == before
    else:
        assert left in (checkout / DETECTORS).read_text() and b"lnclip_detector" not in after
    compile(after, DETECTORS, "exec")


def test_another_reference_to_our_module_is_named_before_anything_goes(checkout):
    install(checkout)
    in_detectors(checkout, LINE, "import importlib; importlib.import_module('.lnclip_detector', __package__)")
    before = snapshot(checkout)
    with pytest.raises(LNCLIPError, match=r"line \d+ still refers to lnclip_detector"):
        uninstall(checkout)
    assert snapshot(checkout) == before


@pytest.mark.parametrize(
    "anchor",
    [
        "from metrics.registry import DETECTOR  # the registry",
        "from metrics.registry import (\n    BACKBONE,\n    DETECTOR,\n)",
        "from metrics.registry import DETECTOR; import os",
    ],
)
def test_the_registrys_import_is_found_as_python_reads_it(checkout, anchor):
    in_detectors(checkout, "from metrics.registry import DETECTOR", anchor)
    before = snapshot(checkout)
    install(checkout)
    assert f"{anchor}\n{LINE}\n" in (checkout / DETECTORS).read_text()
    uninstall(checkout)
    assert snapshot(checkout) == before


def test_a_formatted_shim_is_still_ours(checkout):
    before = snapshot(checkout)
    install(checkout)
    shim = checkout / "training/detectors/lnclip_detector.py"
    lines = shim.read_text().replace('"lnclip"', "'lnclip'").splitlines()
    imports = sorted(line for line in lines if line.startswith("from "))
    others = [line for line in lines if not line.startswith("from ")]
    shim.write_text("\n".join([*others[:3], *imports, *others[3:]]) + "\n\n")
    assert shim.read_text().splitlines() != lines
    uninstall(checkout)
    assert snapshot(checkout) == before


def test_an_edited_shim_stays(checkout):
    install(checkout)
    shim = checkout / "training/detectors/lnclip_detector.py"
    shim.write_text(shim.read_text() + "print('mine')\n")
    assert "kept training/detectors/lnclip_detector.py" in uninstall(checkout)


def test_a_yaml_round_trip_leaves_labels_behind_and_names_them(checkout):
    install(checkout)
    path = checkout / CONFIGS[0]
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text())))
    (note,) = [line for line in uninstall(checkout).splitlines() if line.startswith("kept")]
    assert CONFIGS[0] in note and f"{len(our_labels())} labels" in note and "CelebDFv3_fake" in note


def write_dataset(folder, name, real, fake):
    """The YAML of a user's dataset with two labels."""
    rules = [
        {"path": f"{kind}/.*", "label": label, "fake": label == fake} for kind, label in (("r", real), ("f", fake))
    ]
    folder.mkdir(parents=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "folders": name, "videos": rules}))


def test_labels_of_the_users_datasets_here_and_in_the_checkout_come_and_go(checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LNCLIP_DATASETS", raising=False)
    write_dataset(tmp_path / "datasets", "here", "here_real", "yes: #1")
    write_dataset(checkout / "datasets", "there", "there_real", "there_fake")
    before = snapshot(checkout)
    install(checkout)
    own = {"here_real": 0, "yes: #1": 1, "there_real": 0, "there_fake": 1}
    for name in CONFIGS:
        assert (our_labels(checkout) | own).items() <= yaml.safe_load((checkout / name).read_text())[
            "label_dict"
        ].items()
    assert install(checkout) == ""
    uninstall(checkout)
    assert snapshot(checkout) == before


def test_marks_that_a_formatter_moved_are_still_marks(checkout):
    before = snapshot(checkout)
    install(checkout)
    path = checkout / CONFIGS[0]
    path.write_bytes(path.read_bytes().replace(MARK.encode(), b" #lnclip-df"))
    assert "kept" not in uninstall(checkout)
    assert snapshot(checkout) == before


def test_a_missing_label_dict_is_added_and_removed(checkout):
    """``test_config.yaml`` had none until July 2024; ``test.py`` then needs the labels of DeepfakeBench's sets too."""
    path = checkout / CONFIGS[1]
    path.write_bytes(b"# of 2024\r\nmode: test\r\nlmdb: True")
    before = snapshot(checkout)
    install(checkout)
    config = yaml.safe_load(path.read_text())
    assert config["label_dict"] == labels() and config["lmdb"] is True
    assert install(checkout) == ""
    uninstall(checkout)
    assert snapshot(checkout) == before


def test_a_label_of_the_users_keeps_our_label_dict(checkout):
    path = checkout / CONFIGS[1]
    path.write_bytes(b"mode: test\n")
    install(checkout)
    path.write_bytes(path.read_bytes().replace(b"mode", b"  mine: 1\nmode"))
    uninstall(checkout)
    assert yaml.safe_load(path.read_text()) == {"label_dict": {"mine": 1}, "mode": "test"}


def test_a_missing_config_folder_is_made_and_removed(checkout):
    shutil.rmtree(checkout / "training/config/detector")
    install(checkout)
    assert (checkout / "training/config/detector/lnclip.yaml").is_file()
    uninstall(checkout)
    assert not (checkout / "training/config/detector").exists()


def test_a_file_in_place_of_a_folder_is_named(checkout):
    shutil.rmtree(checkout / "training/config/detector")
    (checkout / "training/config/detector").touch()
    with pytest.raises(LNCLIPError, match=r"config/detector is not a folder"):
        install(checkout)


def spoil(checkout, fault):
    if fault == "label means something else":
        path = checkout / CONFIGS[1]
        path.write_bytes(path.read_bytes().replace(b"FF-real: 0", b"FFIW_real: 1"))
    elif fault == "foreign shim":
        (checkout / "training/detectors/lnclip_detector.py").write_text("mine = 1\n")
    else:
        name, old = {
            "no import anchor": (DETECTORS, b"metrics.registry"),
            "the registry's name in a docstring": (DETECTORS, b"from metrics.registry import DETECTOR"),
            "not Python": (DETECTORS, b"import sys"),
            "label_dict without entries": (CONFIGS[1], b"  FF-real: 0"),
            "label_dict on one line": (CONFIGS[1], b"label_dict:"),
            "not YAML": (CONFIGS[1], b"mode: train"),
        }[fault]
        new = {
            "the registry's name in a docstring": b'"""\nfrom metrics.registry import DETECTOR\n"""',
            "not Python": b"import",
            "label_dict without entries": b"other: 1",
            "label_dict on one line": b"label_dict: {FF-real: 0}\nother:",
            "not YAML": b"mode: [",
        }.get(fault, b"something")
        path = checkout / name
        path.write_bytes(path.read_bytes().replace(old, new))


@pytest.mark.parametrize(
    "fault",
    [
        "no import anchor",
        "the registry's name in a docstring",
        "not Python",
        "label_dict without entries",
        "label_dict on one line",
        "not YAML",
        "label means something else",
        "foreign shim",
    ],
)
def test_an_invalid_checkout_is_left_alone(checkout, fault):
    spoil(checkout, fault)
    before = snapshot(checkout)
    with pytest.raises(LNCLIPError) as error:
        install(checkout)
    assert "\n" not in str(error.value) and str(checkout) in str(error.value)
    assert snapshot(checkout) == before


@pytest.mark.parametrize("function", [install, uninstall])
def test_another_folder_is_refused(tmp_path, function):
    with pytest.raises(LNCLIPError, match="is not a DeepfakeBench checkout"):
        function(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failure_half_way_leaves_nothing(checkout, monkeypatch):
    from lnclip_df.bench import install as module

    before, write, written = snapshot(checkout), module.write_bytes, []

    def failing(path, data):
        written.append(path.name)
        if path.name == "test_config.yaml":
            raise LNCLIPError("disk full")
        write(path, data)

    monkeypatch.setattr(module, "write_bytes", failing)
    with pytest.raises(LNCLIPError, match="disk full"):
        install(checkout)
    assert written.count("train_config.yaml") == 2 and snapshot(checkout) == before


def test_a_read_only_checkout_is_refused(checkout, monkeypatch):
    before = snapshot(checkout)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(LNCLIPError, match="read-only"):
        install(checkout)
    assert snapshot(checkout) == before


def test_a_real_checkout_is_clean_after_uninstall(real_checkout):
    def status():
        command = ["git", "status", "--porcelain"]
        return subprocess.run(command, cwd=real_checkout, capture_output=True, text=True, check=True).stdout

    install(real_checkout)
    assert "lnclip.yaml" in status()
    for name in CONFIGS:
        labels = yaml.safe_load(Path(real_checkout / name).read_text())["label_dict"]
        assert our_labels().items() <= labels.items()
    uninstall(real_checkout)
    assert status() == ""


def test_every_version_with_a_train_config_can_be_installed_into(real_checkout, tmp_path):
    """Of the history, one commit per form of the files that installation reads or changes."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=real_checkout, capture_output=True, check=True).stdout

    names = ["training/train.py", "training/test.py", DETECTORS, *CONFIGS, "training/config/detector/xception.yaml"]
    forms = {}
    for commit in git("rev-list", "HEAD").decode().split():
        listed = git("ls-tree", "-r", commit, "--", *names).decode().splitlines()
        if any(CONFIGS[0] in line for line in listed):
            forms[tuple(listed)] = commit
    for commit in forms.values():
        root = tmp_path / f"a {commit}"
        for name in git("ls-tree", "-r", "--name-only", commit, "--", *names).decode().splitlines():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(git("show", f"{commit}:{name}"))
        before = snapshot(root)
        install(root)
        for name in CONFIGS:
            assert labels().items() <= yaml.safe_load((root / name).read_text())["label_dict"].items(), commit
        uninstall(root)
        assert snapshot(root) == before, commit
