"""Images as frames: in numeric order, upright, in RGB; broken ones are left out."""

import os
import struct

import cv2
import numpy as np
import pytest
from clips import noise, write_clip
from PIL import Image

from lnclip_df.media import images
from lnclip_df.media.frames import ImageFrames, Miscounted, UnreadableVideo, open_frames
from lnclip_df.media.images import list_images, read_image


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


def tiff(bits, kind, white_is_zero, pixels):
    """A TIFF of one row of grey pixels, written by hand; ``kind`` 1 is unsigned, 3 floating-point."""
    width = len(pixels) * 8 // bits
    tags = {
        256: width,
        257: 1,
        258: bits,
        259: 1,
        262: 1 - white_is_zero,
        273: 122,
        277: 1,
        279: len(pixels),
        339: kind,
    }
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels


@pytest.mark.parametrize(
    ("bits", "kind", "white_is_zero", "pixels", "expected"),
    [
        (16, 1, False, struct.pack("<2H", 0x8000, 0xFF), [128, 0]),
        (16, 1, True, struct.pack("<2H", 0x8000, 0xFF), [127, 255]),
        (12, 1, False, bytes([0x80, 0x0F, 0xFF]), [128, 255]),
        (32, 3, False, struct.pack("<2f", 0, 1), [0, 255]),
        (32, 3, True, struct.pack("<2f", 0, 1), [255, 0]),
    ],
)
def test_the_grey_of_a_tiff_is_what_its_tags_say(bits, kind, white_is_zero, pixels, expected):
    assert read_image(tiff(bits, kind, white_is_zero, pixels)).tolist() == [[[grey] * 3 for grey in expected]]


def test_the_transparent_value_of_a_16_bit_png_is_black(tmp_path):
    Image.fromarray(np.array([[65535, 40000]], np.uint16)).save(tmp_path / "a.png", transparency=65535)
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 40000 >> 8]


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_an_animation_is_turned_upright_as_exif_says(tmp_path, suffix):
    first, other = (Image.fromarray(np.full((8, 12, 3), level, np.uint8)) for level in (10, 200))
    first.paste((255, 255, 255), (0, 0, 4, 4))  # at the top left as stored, at the top right when turned clockwise
    exif = Image.Exif()
    exif[0x112] = 6
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[other], lossless=True, exif=exif)
    (_, turned), (_, last) = open_frames(tmp_path / f"a.{suffix}").read([0, 1])
    assert turned.shape == last.shape == (12, 8, 3) and turned[0, -1, 0] == 255 and turned[0, 0, 0] < 20


def test_what_no_reader_knows_says_what_is_read():
    with pytest.raises(UnreadableVideo, match=r"damaged, or no PNG, JPEG, .* with 8 or 16 bits; save it again as PNG"):
        read_image(b"nothing")


def test_other_modes_become_rgb(tmp_path):
    for mode in ("L", "LA", "RGBA", "P", "1", "CMYK", "YCbCr"):
        suffix = {"CMYK": "tif", "YCbCr": "jpg"}.get(mode, "png")
        picture(255).convert(mode).save(tmp_path / f"{mode}.{suffix}")
        [(_, image)] = open_frames(tmp_path / f"{mode}.{suffix}").read([0])
        assert image.dtype == np.uint8 and (image == np.full((6, 8, 3), 255)).all()


DEEP = (np.arange(64 * 48 * 3, dtype=np.uint32) * 65535 // (64 * 48 * 3)).astype(np.uint16).reshape(48, 64, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("pixels", [DEEP, DEEP[..., 0]], ids=["colour", "grey"])
def test_of_16_bits_the_upper_8_are_taken_as_opencv_does(tmp_path, pixels, suffix):
    path = tmp_path / f"deep{suffix}"
    path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    expected = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert expected.min() == 0 and expected.max() > 250  # the whole range, not its darkest part
    np.testing.assert_allclose(read_image(path), expected, atol=suffix == ".tif")  # of a TIFF, OpenCV rounds colours
    np.testing.assert_array_equal(read_image(path.read_bytes()), read_image(path))


def test_an_8_bit_picture_is_read_as_opencv_reads_it(tmp_path):
    """DeepfakeBench reads crops by OpenCV: what this package trains on must be the same to the bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for suffix in (".png", ".bmp", ".jpg"):
        data = cv2.imencode(suffix, pixels)[1].tobytes()
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(read_image(data), expected)


def test_floating_point_pixels_are_scaled_from_0_to_1_and_otherwise_refused(tmp_path):
    grey = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64)
    Image.fromarray(grey).save(tmp_path / "scaled.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "scaled.tif")[..., 1], np.rint(grey * 255))
    for name, faulty in (("wide", grey * 255), ("negative", grey - 0.5), ("nan", np.where(grey > 0.5, np.nan, grey))):
        Image.fromarray(faulty.astype(np.float32)).save(tmp_path / f"{name}.tif")
        with pytest.raises(UnreadableVideo, match="floating-point numbers beyond 0 to 1"):
            read_image(tmp_path / f"{name}.tif")
    Image.fromarray((grey * 1e6).astype(np.int32)).save(tmp_path / "integers.tif")
    with pytest.raises(UnreadableVideo, match="32-bit integers"):
        read_image(tmp_path / "integers.tif")


def test_transparent_pixels_are_black_whatever_colour_they_hide(tmp_path):
    alpha = np.tile(np.array([0, 128, 255, 255], np.uint8), (4, 1))
    for hidden in (0, 90, 255):
        rgba = np.dstack([np.full((4, 4, 3), 200, np.uint8), alpha])
        rgba[:, 0, :3] = hidden
        Image.fromarray(rgba).save(tmp_path / "cut.png")
        image = read_image(tmp_path / "cut.png")
        assert image[0, :, 1].tolist() == [0, 100, 200, 200]
    palette = picture(200).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    picture(200).save(tmp_path / "key.png", transparency=(200, 200, 200))
    assert not read_image(tmp_path / "palette.png").any() and not read_image(tmp_path / "key.png").any()


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_pictures_of_phones_are_read(tmp_path, suffix):
    if suffix == "heic":
        pytest.importorskip("pi_heif")
        pytest.importorskip("pillow_heif").register_heif_opener()
    upright = np.zeros((64, 96, 3), np.uint8)
    upright[:32, :48] = 255
    exif = Image.Exif()
    exif[0x112] = 6  # stored turned by 90 degrees
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    stored.save(tmp_path / f"a.{suffix}", exif=exif.tobytes(), quality=95)
    [(_, image)] = open_frames(tmp_path / f"a.{suffix}").read([0])
    assert image.shape == upright.shape and np.abs(image.astype(int) - upright).mean() < 3


def test_without_a_reader_of_heic_the_missing_package_is_named(tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture(9).resize((64, 64)).save(tmp_path / "a.heic")
    monkeypatch.delitem(Image.OPEN, "HEIF")
    with pytest.raises(UnreadableVideo, match="HEIC needs pi-heif; install the extra"):
        read_image(tmp_path / "a.heic")


LEVELS = (10, 200, 90)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "avif"])
def test_the_frames_of_an_animation_are_shown_at_its_times(tmp_path, suffix):
    first, *others = (picture(level).resize((64, 48)) for level in LEVELS)
    path = tmp_path / f"moving.{suffix}"
    first.save(path, save_all=True, append_images=others, duration=[80, 40, 200])
    frames = open_frames(path)
    assert frames.count == 3 and frames.seconds == 0.32
    assert [frames.time(index) for index in range(3)] == [0, 0.08, 0.12]
    assert [float(frames.moment(index)) for index in range(3)] == [0, 0.08, 0.12]
    shown = dict(frames.read([0, 1, 2]))
    assert [abs(int(shown[index][5, 5, 1]) - level) < 6 for index, level in enumerate(LEVELS)] == [True] * 3
    [(index, last)] = frames.read([2])
    assert index == 2 and last.shape == (48, 64, 3) and np.array_equal(last, shown[2])
    with pytest.raises(UnreadableVideo, match=r"longer than the limit of 0\.1 s"):
        open_frames(path, max_seconds=0.1)


def test_an_animation_that_is_cut_short_has_the_frames_before(tmp_path):
    rng = np.random.default_rng(0)
    first, *others = (Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in range(6))
    first.save(tmp_path / "whole.gif", save_all=True, append_images=others, duration=100)
    data = (tmp_path / "whole.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) * 2 // 3])
    frames = open_frames(tmp_path / "cut.gif")
    assert 2 <= frames.count <= 4
    assert len(list(frames.read(range(frames.count)))) == frames.count


def test_a_still_gif_is_a_picture(tmp_path):
    picture(90).save(tmp_path / "still.gif")
    frames = open_frames(tmp_path / "still.gif")
    assert isinstance(frames, ImageFrames) and abs(int(read_image(tmp_path / "still.gif")[0, 0, 0]) - 90) < 6


def test_the_content_of_a_file_decides_what_it_is(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", noise(5))
    picture(90).save(tmp_path / "picture.webp")
    for name in ("video.jpg", "video.png", "video.txt", "video"):
        (tmp_path / name).write_bytes(clip.read_bytes())
        assert open_frames(tmp_path / name).count == 5
    for name in ("picture.jpg", "picture.mp4", "picture.dat"):
        (tmp_path / name).write_bytes((tmp_path / "picture.webp").read_bytes())
        assert isinstance(open_frames(tmp_path / name), ImageFrames)


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


@pytest.mark.slow
def test_damaged_images_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg", "bmp", "gif", "webp", "tif", "avif"):
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


def test_an_animation_of_too_many_pixels_in_all_is_refused(tmp_path, monkeypatch):
    first, *others = (picture(level) for level in LEVELS)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    monkeypatch.setattr(images, "MAX_ANIMATION", 3 * 6 * 8 - 1)
    with pytest.raises(UnreadableVideo, match="3 frames of 8 × 6 pixels are too many"):
        open_frames(tmp_path / "a.gif")
