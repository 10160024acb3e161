"""Which files are pictures and which are videos: their suffixes, and what their first bytes say."""

import re
from pathlib import Path
from typing import Literal

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv",
    ".wmv",
)  # fmt: skip
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif",
)  # fmt: skip
SUFFIXES = VIDEO_SUFFIXES + IMAGE_SUFFIXES
AMBIGUOUS = (".ts",)  # TypeScript too
HEAD = 4 + 2 * 188 + 1  # bytes that are looked at: two packets of a transport stream
Kind = Literal["picture", "video"]

PICTURES = re.compile(
    rb"""
    \x89PNG\r\n\x1a\n | \xff\xd8\xff | GIF8[79]a | BM.{4}\0{4} | RIFF.{4}WEBP
    | II[*+]\0 | MM\0[*+]                                                   # TIFF, and BigTIFF
    | .{4}ftyp(?: avif | avis | hei[cxms] | hev[cxms] | mif[12] | msf1)     # AVIF and HEIF
    """,
    re.DOTALL | re.VERBOSE,
)
VIDEOS = re.compile(
    rb"""
    .{4}(?: ftyp | moov | mdat | free | skip | wide | pnot | moof | styp)   # MP4 and QuickTime
    | \x1a\x45\xdf\xa3                                                      # Matroska and WebM
    | RIFF.{4}AVI[ ]
    | G.{187}G | .{4}G.{191}G                       # transport streams, as broadcast and as camcorders write them
    | \x00\x00\x01\xba                                                      # MPEG programme streams
    | FLV\x01
    | \x30\x26\xb2\x75\x8e\x66\xcf\x11                                      # ASF, of which WMV is one
    """,
    re.DOTALL | re.VERBOSE,
)


def kind_of_bytes(head: bytes) -> Kind | None:
    """What the first ``HEAD`` bytes of a file say that it is; None where they say nothing.

    >>> kind_of_bytes(b"GIF89a")
    'picture'
    """
    return "picture" if PICTURES.match(head) else "video" if VIDEOS.match(head) else None


def kind_of(path) -> Kind | None:
    """What a file is: by its first bytes, by its suffix where these say nothing, None where neither does.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(path)
    with open(path, "rb") as file:
        kind = kind_of_bytes(file.read(HEAD))
    suffix = path.suffix.lower()
    if kind or suffix in AMBIGUOUS:
        return kind
    return "picture" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None
