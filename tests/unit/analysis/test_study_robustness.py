"""Robustness: each corruption does what it says, the attacks keep their bound, and levels are of the same frames."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from tiny import configured, make_toy

from lnclip_df.analysis import report
from lnclip_df.analysis import robustness as study
from lnclip_df.analysis.attacks import FromPixels, attacked_score, make_attack
from lnclip_df.analysis.corruptions import CORRUPTIONS, corrupt
from lnclip_df.analysis.robustness import CorruptedFrames, Level, degradation, levels_of, robustness
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets import frame_dataset as dataset
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.evaluation.predictions import read_predictions
from lnclip_df.evaluation.runs import read_run
from lnclip_df.evaluation.test import test as lnclip_test
from lnclip_df.models.detector import LNCLIPDetector
from lnclip_df.weights import save_weights


def crops(n=4, side=256):
    """Smooth coloured crops that shift from frame to frame."""
    rng = np.random.default_rng(0)
    base = gaussian_filter(rng.normal(size=(side + 8 * n, side, 3)), (6, 6, 0))
    base = (127 + 50 * base / base.std()).clip(0, 255).astype(np.uint8)
    return [np.ascontiguousarray(base[8 * i : 8 * i + side]) for i in range(n)]


def error(a, b):
    return float(np.mean([np.mean((x.astype(float) - y) ** 2) for x, y in zip(a, b, strict=True)]))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_level_and_repeats_itself(name):
    if name == "h264":
        pytest.importorskip("av")
    frames = crops()
    levels = CORRUPTIONS[name].levels
    assert len(levels) == 5
    made = [corrupt(name, level, frames, "a/b", 1) for level in levels]
    for images in made:
        assert [image.shape for image in images] == [frame.shape for frame in frames]
        assert all(image.dtype == np.uint8 for image in images)
    errors = [error(images, frames) for images in made]
    assert errors == sorted(errors) and errors[0] < errors[-1]
    np.testing.assert_array_equal(made[2], corrupt(name, levels[2], frames, "a/b", 1))
    np.testing.assert_array_equal(frames, crops())  # the crops that went in are as before


@pytest.mark.parametrize("name", ["noise", "occlusion"])
def test_draws_are_of_the_video_and_the_seed(name):
    frames, level = crops(1), CORRUPTIONS[name].levels[1]
    same = corrupt(name, level, frames, "a", 0)[0]
    assert not np.array_equal(same, corrupt(name, level, frames, "b", 0)[0])
    assert not np.array_equal(same, corrupt(name, level, frames, "a", 1)[0])


@pytest.mark.parametrize("sigma", [1, 2, 4])
def test_blur_is_scipys(sigma):
    frame = crops(1)[0]
    ours = corrupt("blur", sigma, [frame], "a", 0)[0][20:-20, 20:-20]
    theirs = gaussian_filter(frame.astype(float), (sigma, sigma, 0))[20:-20, 20:-20]
    assert np.abs(ours - theirs).max() < 1.5


def test_noise_has_its_deviation_and_the_same_draws_at_every_level():
    frame = np.full((256, 256, 3), 127, np.uint8)
    some, more = (corrupt("noise", level, [frame], "a", 0)[0].astype(float) - 127 for level in (8, 16))
    assert some.std() == pytest.approx(8, rel=0.02)
    np.testing.assert_allclose(more, 2 * some, atol=1.5)


def test_occlusion_covers_its_share_with_grey():
    frame = np.zeros((256, 256, 3), np.uint8)
    for share in CORRUPTIONS["occlusion"].levels:
        image = corrupt("occlusion", share, [frame], "a", 0)[0]
        assert (image == 128).mean() == pytest.approx(share, rel=0.02)


def test_light_is_its_formula_with_either_sign():
    frame, level = crops(1)[0], 0.3
    image = corrupt("light", level, [frame], "a", 0)[0]
    candidates = [
        np.rint(((frame.astype(float) - 127.5) * (1 + c * level) + 127.5) * (1 + b * level)).clip(0, 255)
        for c in (-1, 1)
        for b in (-1, 1)
    ]
    assert min(np.abs(image - candidate).max() for candidate in candidates) <= 1


def test_scaling_goes_through_its_size_also_on_other_crops():
    frame = crops(1, side=128)[0]
    small = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA)  # 64 of 256
    expected = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(corrupt("scale", 64, [frame], "a", 0)[0], expected)


@pytest.mark.parametrize("side", [33, 64])
def test_h264_keeps_order_and_odd_sides(side):
    pytest.importorskip("av")
    frames = crops(6, side)
    decoded = corrupt("h264", 17, frames, "a", 0)
    for at, image in enumerate(decoded):
        distances = [error([image], [frame]) for frame in frames]
        assert int(np.argmin(distances)) == at
    mixed = [frames[0], frames[1][:-8], frames[2]]
    assert [x.shape for x in corrupt("h264", 30, mixed, "a", 0)] == [x.shape for x in mixed]


def test_degradation_is_the_mean_of_means():
    drops = {Level("jpeg", q): 0.01 * i for i, q in enumerate(CORRUPTIONS["jpeg"].levels)} | {Level("blur", 1): 0.1}
    means, overall = degradation(drops | {Level("pgd", 4): 0.9})
    assert means == pytest.approx({"jpeg": 0.02, "blur": 0.1})
    assert overall == pytest.approx(0.06)
    assert degradation({})[1] is None


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = make_toy(tmp_path_factory.mktemp("toy"))
    config = configured(root)
    weights = root / "run" / "best.safetensors"
    torch.manual_seed(0)
    save_weights(LNCLIPDetector(config), weights, {"config": config})
    return config, weights


def pixels(n=6):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 32, 32, generator=generator), torch.arange(n) % 2


@pytest.fixture(scope="module")
def model(toy):
    pytest.importorskip("art")
    config, _ = toy
    torch.manual_seed(1)
    return FromPixels(LNCLIPDetector(config), config["mean"], config["std"]).eval()


def loss_of(model, x, y):
    return torch.nn.functional.cross_entropy(model(x), y, reduction="none")


def test_fgsm_is_a_step_along_the_gradients_sign(model):
    x, y = pixels()
    x.requires_grad_(True)
    gradient = torch.autograd.grad(loss_of(model, x, y).sum(), x)[0]
    expected = (x + 4 / 255 * gradient.sign()).clamp(0, 1).detach().numpy()
    attack = make_attack("fgsm", 4 / 255, model, 32, torch.device("cpu"), 4)
    found = attack.generate(x.detach().numpy(), y.numpy())
    assert np.mean(np.abs(found - expected) < 1e-6) > 0.999  # but where a gradient is 0 to rounding


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("epsilon", [1, 4])
def test_attacks_stay_within_their_bound_and_raise_the_loss(model, name, epsilon):
    x, y = pixels()
    attack = make_attack(name, epsilon / 255, model, 32, torch.device("cpu"), 4)
    found = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
    assert (found - x).abs().max() <= epsilon / 255 + 1e-6
    assert found.min() >= 0 and found.max() <= 1
    assert (loss_of(model, found, y) > loss_of(model, x, y)).all()


def test_attacked_scores_repeat_themselves_and_leave_everything_as_it_was(toy):
    pytest.importorskip("art")
    from lnclip_df.datasets.frame_dataset import EpochSampler, FrameDataset
    from lnclip_df.evaluation.predict import make_loader, score

    config, _ = toy
    detector = LNCLIPDetector(config).train()
    frames = FrameDataset(config, read_videos(config, ["toy"], "test"), frames_per_video=2)
    loader = make_loader(frames, EpochSampler(len(frames), seed=0, shuffle=False), batch_size=8, workers=0)
    before, wanted = np.random.get_state()[1].copy(), [p.requires_grad for p in detector.parameters()]
    options = {"device": torch.device("cpu"), "title": "", "progress": False}
    first, again = (attacked_score("pgd", 4, config, 7)(detector, loader, **options) for _ in range(2))
    clean = score(detector, loader, **options)
    assert first["prob"] == again["prob"]
    assert first["frame"] == clean["frame"]
    worse = [
        (a - c) * (1 if y == 0 else -1) for a, c, y in zip(first["prob"], clean["prob"], clean["label"], strict=True)
    ]
    assert min(worse) > 0  # reals look more fake, fakes less
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert [p.requires_grad for p in detector.parameters()] == wanted
    assert detector.training


def run_study(toy, out, **options):
    config, weights = toy
    kinds = {"corruptions": ["jpeg", "h264"], "attacks": []}
    options = {"datasets": ["toy"], "device": "cpu", "progress": False, "resamples": 100} | kinds | options
    return robustness(config, weights, out, **options)


def test_the_study_end_to_end(toy, tmp_path):
    pytest.importorskip("av")
    config, weights = toy
    text = run_study(toy, tmp_path)
    lnclip_test(config, weights, tmp_path / "test", datasets=["toy"], device="cpu", progress=False)
    clean, tested = (read_run(folder).sets["toy"] for folder in (tmp_path / "levels" / "clean", tmp_path / "test"))
    np.testing.assert_array_equal(clean.frame_prob, tested.frame_prob)
    rows = report.read_csv(tmp_path / "robustness.csv", ("kind", "drop"))
    assert len(rows) == 11
    base = roc_auc_score(clean.label, clean.score)
    for row in rows[1:]:
        there = read_run(tmp_path / "levels" / f"{row['kind']}-{row['level'].split('.')[0]}").sets["toy"]
        assert float(row["auroc"]) == pytest.approx(roc_auc_score(there.label, there.score), abs=1e-6)
        assert float(row["drop"]) == pytest.approx(base - roc_auc_score(there.label, there.score), abs=1e-6)
    tables = [read_predictions(path)[0] for path in sorted(tmp_path.glob("levels/*/predictions/toy.parquet"))]
    assert len(tables) == 11 and all(table["frame"] == tables[0]["frame"] for table in tables)
    mean = np.mean([float(row["drop"]) for row in rows[1:]])
    assert f"**{100 * mean:.1f}** points over 2 corruptions" in text
    assert (tmp_path / "robustness.png").stat().st_size > 5000


def test_it_goes_on_level_by_level(toy, tmp_path, monkeypatch):
    made = []
    genuine = study.predict

    def counting(loaded, frames, path, *rest, **options):
        made.append(path.parent.parent.name)
        if len(made) == 4:
            raise KeyboardInterrupt
        genuine(loaded, frames, path, *rest, **options)

    monkeypatch.setattr(study, "predict", counting)
    only = {"corruptions": ["jpeg"]}
    with pytest.raises(KeyboardInterrupt):
        run_study(toy, tmp_path, **only)
    run_study(toy, tmp_path, **only)
    assert made == ["clean", "jpeg-100", "jpeg-75", "jpeg-50", "jpeg-50", "jpeg-25", "jpeg-10"]
    del made[:]
    text = run_study(toy, tmp_path, **only)
    assert made == []
    path = tmp_path / "levels" / "jpeg-75" / "predictions" / "toy.parquet"
    path.write_bytes(path.read_bytes()[:99])  # damaged: made again
    made += ["", "", "", ""]
    assert run_study(toy, tmp_path, **only) == text
    assert made[4:] == ["jpeg-75"]
    del made[4:]
    run_study(toy, tmp_path, seed=1, **only)  # another seed: all of it
    assert len(made) == 10


def test_a_video_is_corrupted_as_a_whole_whatever_order_its_frames_come_in(toy):
    pytest.importorskip("av")
    config, _ = toy
    videos = read_videos(config, ["toy"], "test")
    options = {"frames_per_video": 2, "level": Level("h264", 30), "corruption_seed": 0}
    frames = CorruptedFrames(config, videos, **options)
    images = [frames[i]["image"] for i in range(len(frames))]
    other = CorruptedFrames(config, videos, **options)
    for i in reversed(range(len(other))):
        assert torch.equal(other[i]["image"], images[i])


@pytest.mark.parametrize("level", [Level("clean"), Level("jpeg", 50), Level("occlusion", 0.1)])
def test_every_frame_is_read_once_a_level(toy, monkeypatch, level):
    config, _ = toy
    read, genuine = [], dataset.read_frame
    monkeypatch.setattr(dataset, "read_frame", lambda *arguments: read.append(arguments[-1]) or genuine(*arguments))
    videos = read_videos(config, ["toy"], "test")
    frames = CorruptedFrames(config, videos, frames_per_video=2, level=level, corruption_seed=0)
    assert [frames[at]["frame"] for at in range(len(frames))] == read


def test_a_broken_frame_is_passed_over_at_every_level(toy):
    pytest.importorskip("av")
    config, _ = toy
    config = {**config, "lnclip": {**config["lnclip"], "missing_frames": "skip"}}
    video = read_videos(config, ["toy"], "test")[0]
    video = replace(video, frames=(video.frames[0], video.frames[0].replace("000", "777")))
    for level in (Level("clean"), Level("jpeg", 50), Level("h264", 30)):
        frames = CorruptedFrames(config, [video], frames_per_video=2, level=level, corruption_seed=0)
        assert ["skipped" in frames[i] for i in range(2)] == [False, True]


def test_fewer_videos_and_frames(toy, tmp_path):
    run_study(toy, tmp_path, corruptions=["blur"], videos=3, frames=1)
    scores = read_run(tmp_path / "levels" / "blur-2").sets["toy"]
    assert (len(scores.label), scores.label.sum(), scores.frames) == (6, 3, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": []}, "--datasets"),
        ({"corruptions": ["rain"]}, "unknown is rain"),
        ({"attacks": ["cw"]}, "unknown is cw"),
        ({"frames": 0}, "--frames 0"),
        ({"videos": 0}, "--videos 0"),
        ({"datasets": ["other"]}, "no dataset file"),
    ],
)
def test_unfit_options_are_one_line(toy, tmp_path, options, message):
    with pytest.raises(LNCLIPError, match=message):
        run_study(toy, tmp_path, **options)


def test_there_are_five_levels_of_seven_and_three_of_two():
    assert len(levels_of(list(CORRUPTIONS), ["fgsm", "pgd"])) == 1 + 7 * 5 + 2 * 3
