"""Images as frames: in numeric order, upright, in RGB; broken ones are left out."""

import os

import numpy as np
import pytest
from PIL import Image

from lnclip_df.media.frames import ImageFrames, Miscounted, UnreadableVideo, open_frames
from lnclip_df.media.images import list_images


def picture(value):
    return Image.fromarray(np.full((6, 8, 3), value, np.uint8))


def test_the_images_of_a_folder_are_frames_in_numeric_order(tmp_path):
    for number in (10, 9, 2, 100, 1):
        picture(number).save(tmp_path / f"frame_{number}.png")
    (tmp_path / ".frame_3.png").touch()
    (tmp_path / "frame_4.txt").touch()
    (tmp_path / "frame_5.png").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "frame_6.png")  # would be waited for
    assert [path.name for path in list_images(tmp_path)] == [f"frame_{number}.png" for number in (1, 2, 9, 10, 100)]
    frames = open_frames(tmp_path, max_seconds=0.1)
    assert frames.count == 5 and frames.seconds is None and frames.time(0) is None
    assert [(index, image[0, 0, 0]) for index, image in frames.read([0, 2, 4])] == [(0, 1), (2, 9), (4, 100)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_as_exif_says(tmp_path, orientation):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = 255  # the corner at the top left, which each orientation stores elsewhere
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    [(_, image)] = open_frames(tmp_path / "a.png").read([0])
    np.testing.assert_array_equal(image, upright)


def test_other_modes_become_rgb(tmp_path):
    for mode in ("L", "RGBA", "P", "1", "CMYK"):
        suffix = "tif" if mode == "CMYK" else "png"
        picture(255).convert(mode).save(tmp_path / f"{mode}.{suffix}")
        [(_, image)] = open_frames(tmp_path / f"{mode}.{suffix}").read([0])
        assert image.dtype == np.uint8 and (image == np.full((6, 8, 3), 255)).all()


def test_a_broken_image_among_good_ones_is_counted_out(tmp_path):
    for number in range(5):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-30])
    frames = open_frames(tmp_path)
    with pytest.raises(Miscounted):
        list(frames.read([0, 2]))
    frames.recount()
    assert frames.count == 4
    assert [image[0, 0, 0] for _, image in frames.read([0, 1, 2, 3])] == [0, 1, 3, 4]


def test_bombs_and_other_files_are_counted_out(tmp_path, monkeypatch):
    picture(7).save(tmp_path / "good.png")
    picture(7).resize((40, 40)).save(tmp_path / "bomb.png")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    frames = ImageFrames([tmp_path / name for name in ("bomb.png", "empty.png", "good.png", "text.png", "absent.png")])
    frames.recount()
    assert [path.name for path in frames.paths] == ["good.png"]


def test_damaged_images_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg", "bmp", "webp", "tif"):
        picture(99).resize((64, 48)).save(tmp_path / f"whole.{suffix}")
        whole, path = (tmp_path / f"whole.{suffix}").read_bytes(), tmp_path / f"broken.{suffix}"
        for _ in range(60):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 3):
                data[place] = rng.integers(256)
            path.write_bytes(data[: rng.integers(1, len(data) + 1)])
            frames = ImageFrames([path])
            try:
                frames.recount()
            except UnreadableVideo as error:
                assert "\n" not in str(error)
                continue
            assert all(image.dtype == np.uint8 and image.shape[2] == 3 for _, image in frames.read(range(frames.count)))
