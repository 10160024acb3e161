"""Whose face is cut out of whole videos: the person who is followed, and the one whom a mask covers."""

import json

import numpy as np
import pytest
from clips import contents, cv2, options, run, write_clip
from embedding import needs_embedding
from scored_clips import beside

from lnclip_df.faces.align import similarity, template
from lnclip_df.faces.selection import largest_face
from lnclip_df.preprocess import preprocess_sources
from lnclip_df.preprocess.paths import Source

pytestmark = [pytest.mark.slow, needs_embedding]

pytest.importorskip("retinaface")

HIGH, WIDE, FRAMES = 200, 480, 16


@pytest.fixture(scope="module")
def two():
    """Two people of one size, 200×240 pixels each, in 16 frames."""
    from lnclip_df.demo import people, scenes

    takes = []
    for identity in (0, 5):
        scene = scenes.make_scene(0, identity, FRAMES, 288)
        person = people.make_person(0, identity)
        takes.append([cv2.resize(frame, (240, 240))[:HIGH] for frame in scenes.film(person, scene)])
    return takes


def small(frame):
    """The same person at 70 % of the size, in a grey room."""
    room = np.full_like(frame, 120)
    room[30:170, 36:204] = cv2.resize(frame, (168, 140))
    return room


def who(summary, key, own):
    """Which of two people each crop of a video shows: the one whose own crop is nearer."""
    found = {}
    for path in summary.frame_paths().get(key, []):
        crop = cv2.imread(str(path))[..., ::-1].astype(float)
        found[int(path.stem)] = int(np.argmin([np.abs(crop - one[int(path.stem)]).mean() for one in own]))
    return found


@pytest.fixture(scope="module")
def own(two, tmp_path_factory):
    """The crops of each person alone."""
    folder, crops = tmp_path_factory.mktemp("own"), []
    for number, frames in enumerate(two):
        clip = write_clip(folder / f"{number}.mp4", frames, options={"crf": "10"})
        paths = run(clip, folder / "out", frames=FRAMES).frame_paths()[str(number)]
        assert len(paths) == FRAMES
        crops.append([cv2.imread(str(path))[..., ::-1].astype(float) for path in paths])
    return crops


def test_track_stays_with_one_person_where_largest_changes(two, own, tmp_path):
    left = [small(frame) if 6 <= at < 10 else frame for at, frame in enumerate(two[0])]
    right = [small(frame) if not 6 <= at < 10 else frame for at, frame in enumerate(two[1])]
    clip = write_clip(tmp_path / "two.mp4", beside(left, right), options={"crf": "10"})
    largest_of = who(run(clip, tmp_path / "largest", frames=FRAMES), "two", own)
    assert largest_of == {at: int(6 <= at < 10) for at in range(FRAMES)}
    followed = who(run(clip, tmp_path / "track", frames=FRAMES, face="track"), "two", own)
    assert followed == dict.fromkeys(range(FRAMES), 0)


def test_track_stays_with_one_person_over_a_cut_that_swaps_sides(two, own, tmp_path):
    right = [small(frame) for frame in two[1]]
    frames = beside(two[0], right)[:8] + beside(right, two[0])[8:]
    clip = write_clip(tmp_path / "cut.mp4", frames, options={"crf": "10"})
    followed = who(run(clip, tmp_path / "out", frames=FRAMES, face="track"), "cut", own)
    assert followed == dict.fromkeys(range(FRAMES), 0)


def masks(frames, ends=FRAMES, size=(WIDE, HIGH), level=255):
    """A mask over the small person on the right, as a video has it: three channels."""
    picture = np.zeros((HIGH, WIDE, 3), np.uint8)
    picture[30:170, 300:420] = level
    return [cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)] * min(frames, ends)


@pytest.fixture
def manipulated(two, tmp_path):
    frames = beside(two[0], [small(frame) for frame in two[1]])
    path = write_clip(tmp_path / "fake.mp4", frames, options={"crf": "10"})

    def cut(mask, face="mask", out="out"):
        source = Source("fake", str(path), mask=None if mask is None else str(mask))
        return preprocess_sources([source], tmp_path / out, *options(frames=FRAMES, face=face))

    return cut


@pytest.mark.parametrize("ends, size", [(FRAMES, (WIDE, HIGH)), (5, (WIDE, HIGH)), (FRAMES, (WIDE // 2, HIGH // 2))])
def test_mask_takes_the_smaller_face_that_it_covers_and_goes_on_with_it(manipulated, own, tmp_path, ends, size):
    mask = write_clip(tmp_path / "mask.mp4", masks(FRAMES, ends, size))
    summary = manipulated(mask)
    assert who(summary, "fake", own) == dict.fromkeys(range(FRAMES), 1)
    written = sorted(path.name for path in (tmp_path / "out" / "masks" / "fake").iterdir())
    assert written == [f"{at:03d}.png" for at in range(ends)]
    for name in written:
        levels = cv2.imread(str(tmp_path / "out" / "masks" / "fake" / name), cv2.IMREAD_UNCHANGED)
        assert levels.shape == (256, 256) and set(np.unique(levels)) <= {0, 255} and levels[140, 128] == 255


def test_the_masks_of_an_image_folder_are_used_too(manipulated, own, tmp_path):
    (tmp_path / "mask").mkdir()
    for at, mask in enumerate(masks(FRAMES)):
        cv2.imwrite(str(tmp_path / "mask" / f"{at}.png"), mask)
    summary = manipulated(tmp_path / "mask")
    assert set(who(summary, "fake", own).values()) == {1}
    assert len(list((tmp_path / "out" / "masks" / "fake").iterdir())) == FRAMES


def test_a_mask_is_white_from_level_two_on(manipulated, tmp_path):
    (tmp_path / "mask").mkdir()
    for at in range(3):
        cv2.imwrite(str(tmp_path / "mask" / f"{at}.png"), np.full((HIGH, WIDE), at, np.uint8))
    manipulated(tmp_path / "mask")
    found = [cv2.imread(str(tmp_path / "out" / "masks" / "fake" / f"00{at}.png"))[128, 128].max() for at in range(3)]
    assert found == [0, 0, 255]


def test_a_mask_that_cannot_be_used_is_a_note_and_the_person_is_followed(manipulated, own, tmp_path):
    (tmp_path / "text.mp4").write_text("no mask")
    for name, mask in (("absent", tmp_path / "absent.mp4"), ("text", tmp_path / "text.mp4"), ("none", None)):
        summary = manipulated(mask, out=name)
        assert summary.counts == {"done": 1} and set(who(summary, "fake", own).values()) == {0}
        note = json.loads((tmp_path / name / "records" / "fake.json").read_text())["reason"]
        assert note == "" if mask is None else note.startswith("its mask cannot be used: cannot be opened")
        assert not (tmp_path / name / "masks").exists()


def test_masks_are_written_for_any_choice_of_face_and_lie_where_the_crop_does(manipulated, tmp_path):
    white = np.zeros((HIGH, WIDE, 3), np.uint8)
    white[90:110, 100:130] = 255
    mask = write_clip(tmp_path / "mask.mp4", [white] * FRAMES, options={"crf": "4"})
    summary = manipulated(mask, face="largest")
    [record] = summary.results
    assert record.saved == list(range(FRAMES))
    from lnclip_df.faces.detectors import make_detector
    from lnclip_df.faces.settings import CropSettings
    from lnclip_df.media.frames import open_frames

    images = [image for _, image in open_frames(tmp_path / "fake.mp4").read(record.saved)]
    for at, faces in enumerate(make_detector(CropSettings())(images)):
        turn = similarity(faces.points[largest_face(faces)], template())
        corners = np.array([[100, 90], [130, 90], [130, 110], [100, 110]]) - 0.5
        expected = np.zeros((256, 256), np.uint8)
        cv2.fillPoly(expected, [np.rint(corners @ turn[:, :2].T + turn[:, 2]).astype(np.int32)], 255)
        found = cv2.imread(str(tmp_path / "out" / "masks" / "fake" / f"{at:03d}.png"), cv2.IMREAD_GRAYSCALE)
        shared = np.count_nonzero(found & expected) / np.count_nonzero(found | expected)
        assert shared > 0.8
        wide = cv2.dilate(expected, np.ones((9, 9), np.uint8))
        assert not (found & ~wide).any()


def test_of_frames_whose_mask_is_empty_only_mask_only_cuts_no_face(manipulated, own, tmp_path):
    empty = {0, 1, 6, 11}
    pictures = [picture * (at not in empty) for at, picture in enumerate(masks(FRAMES))]
    mask = write_clip(tmp_path / "mask.mp4", pictures)
    summary = manipulated(mask, face="mask_only")
    assert who(summary, "fake", own) == dict.fromkeys(sorted({*range(FRAMES)} - empty), 1)
    assert summary.results[0].found == FRAMES - len(empty)
    assert "people" not in summary.recipe.facts  # nobody is followed
    assert {*who(manipulated(mask, out="mask"), "fake", own)} == {*range(FRAMES)}
    assert who(manipulated(None, face="mask_only", out="none"), "fake", own) == dict.fromkeys(range(FRAMES), 0)


def test_mask_only_of_a_mask_that_cannot_be_read_says_so(manipulated, tmp_path):
    (tmp_path / "mask.mp4").write_bytes(b"no video")
    summary = manipulated(tmp_path / "mask.mp4", face="mask_only")
    [(key, reason)] = summary.failures
    assert key == "fake" and reason.startswith("its mask cannot be used: ")


def test_a_run_without_the_mask_leaves_no_old_one(manipulated, tmp_path):
    mask = write_clip(tmp_path / "mask.mp4", masks(FRAMES))
    manipulated(mask, face="track")
    (tmp_path / "out" / "records" / "fake.json").unlink()
    manipulated(None, face="track")
    assert not [name for name in contents(tmp_path / "out") if name.startswith("masks/")]
