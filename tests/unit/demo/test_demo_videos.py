"""The demo's videos: faces in every frame, forgeries paired with their source, identities apart, the same again."""

import numpy as np
import pytest

from lnclip_df.core.errors import LNCLIPError

cv2 = pytest.importorskip("cv2")
av = pytest.importorskip("av")
pytest.importorskip("skimage")

from lnclip_df.demo import forgeries, people, scenes, videos  # noqa: E402

SMALL = {"train": 2, "val": 2, "test": 2}


def read(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return videos.make_videos(tmp_path_factory.mktemp("demo"), seed=3, identities=SMALL, frames=4, workers=1)


@pytest.mark.slow
def test_every_identity_has_a_real_video_and_a_forgery_by_every_method(made):
    assert len(made) == 6 * 3 and len({(entry.label, entry.name) for entry in made}) == len(made)
    reals = [entry for entry in made if entry.label == "demo_real"]
    assert len(reals) == 6
    for real in reals:
        assert real.method == "real" and real.source == real.name
        forged = [entry for entry in made if entry.source == real.name and entry.label == "demo_fake"]
        assert [entry.method for entry in forged] == list(videos.METHODS)
        assert {entry.split for entry in forged} == {real.split}
    for entry in made:
        assert entry.path.is_file() and entry.path.parent.name == entry.label and entry.path.stem == entry.name


@pytest.mark.slow
def test_no_identity_is_in_two_splits_not_even_as_a_donor(made):
    identities = {split: set() for split in SMALL}
    for entry in made:
        identities[entry.split] |= {part for part in entry.name.split("_") if part.isdigit()}
    assert [len(group) for group in identities.values()] == [2, 2, 2]
    assert len(set.union(*identities.values())) == 6


@pytest.mark.slow
def test_videos_have_the_frames_asked_for(made):
    assert {read(entry.path).shape for entry in made} == {(4, 288, 288, 3)}


@pytest.mark.slow
def test_retinaface_finds_the_face_in_every_frame(made):
    pytest.importorskip("retinaface")
    from lnclip_df.faces.retinaface import RetinaFace

    detector = RetinaFace()
    for entry in made:
        for faces in detector(list(read(entry.path))):
            assert len(faces.boxes) == 1


@pytest.mark.slow
def test_a_forgery_differs_from_its_source_in_the_face_only():
    person, donor = people.make_person(0, 0), people.make_person(0, 1)
    scene = scenes.make_scene(0, 0, 3, 288)
    real = scenes.film(person, scene)
    for fake in (
        forgeries.swap(real, donor, scene, np.random.default_rng(0)),
        forgeries.reenact(real, person, scene, np.random.default_rng(0)),
    ):
        assert fake.shape == real.shape and fake.dtype == np.uint8
        changed = np.abs(fake.astype(int) - real).max(axis=-1) > 3
        assert (changed.mean(axis=(1, 2)) > 0.01).all() and changed.mean() < 0.25
        for frame, pose in zip(changed, scene.pose, strict=True):
            y, x = np.nonzero(frame)
            centre = pose @ [*people.CENTRE, 1]
            assert np.hypot(x - centre[0], y - centre[1]).max() < 120


def test_identities_differ_and_are_drawn_from_the_seed_alone():
    draw = people.make_person.__wrapped__  # without its cache
    portraits = [draw(1, number).portrait for number in range(3)]
    for number, portrait in enumerate(portraits):
        np.testing.assert_array_equal(portrait, draw(1, number).portrait)
        for other in portraits[:number]:
            assert np.abs(portrait[70:180, 120:215] - other[70:180, 120:215]).mean() > 5
    assert np.abs(portraits[0] - draw(2, 0).portrait).mean() > 2


@pytest.mark.slow
def test_workers_do_not_change_a_pixel(made, tmp_path):
    again = videos.make_videos(tmp_path, seed=3, identities=SMALL, frames=4, workers=2)
    assert [entry[:3] + entry[4:] for entry in again] == [entry[:3] + entry[4:] for entry in made]
    for one, two in zip(made, again, strict=True):
        np.testing.assert_array_equal(read(one.path), read(two.path))


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"identities": {"train": 1}}, "train"),
        ({"identities": {"dev": 2}}, "'dev'"),
        ({"frames": 0}, "frames"),
        ({"workers": 0}, "workers"),
    ],
)
def test_settings_out_of_range_are_named(tmp_path, settings, named):
    with pytest.raises(LNCLIPError, match=named):
        videos.make_videos(tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
