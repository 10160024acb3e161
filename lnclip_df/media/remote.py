"""Videos at a URL (``s3://…``, ``https://…``), by fsspec: listed there, and copied to the local disk one by one.

Passwords and signatures in a URL stay in it: what is written or shown is :func:`redacted`.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.core.files import scratch_folder
from lnclip_df.media.discover import Found, earlier_run, is_sequence, unique_keys
from lnclip_df.media.kinds import IMAGE_SUFFIXES, SUFFIXES
from lnclip_df.media.limits import UnreadableVideo

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # of a URL, also where pathlib has removed its second slash
SECRETS = re.compile(r"(\w\w:/{1,2})[^/\s?'\"]*@|(?<=[\w/])\?[^\s'\"]+")
VERSION = ("mtime", "ETag", "LastModified", "last_modified", "updated", "Last-Modified")  # what file systems call it


def is_url(path) -> bool:
    """Whether a source is at a URL.

    >>> is_url("s3://bucket/videos"), is_url("videos/a.mp4")
    (True, False)
    """
    return URL.match(str(path)) is not None


def refuse_url(name: str, path):
    """Raise LNCLIPError for a URL where a folder is needed."""
    if is_url(path):
        raise LNCLIPError(f"{name}: {redacted(str(path))} is a URL; name a folder on a file system")


def redacted(text: str) -> str:
    """Text without users, passwords and queries (signatures) in its URLs.

    >>> redacted("cannot read ftp://me:secret@host/a.mp4?token=1: timeout")
    'cannot read ftp://host/a.mp4 timeout'
    """
    return SECRETS.sub(lambda match: match[1] or "", text)


def find_at(url: str, *, sequences: bool = False) -> Found:
    """The videos and images at a URL, as :func:`~lnclip_df.media.discover.find_videos` finds those of a folder.

    What a file is, its suffix says. Images that are the frames of one video are passed over.

    Args:
        url: a video or an image where it ends in such a suffix, else a folder.
        sequences: see :func:`~lnclip_df.media.discover.find_videos`.

    Raises:
        LNCLIPError: it cannot be listed, or there is no video.
    """
    address = urlsplit(url)
    if PurePosixPath(address.path).suffix.lower() in SUFFIXES:
        return Found({PurePosixPath(address.path).stem: url})
    web = address.scheme in ("http", "https")
    try:
        system, root = _opened(address._replace(query="").geturl() if web else url)
        system.ls(root)  # find gives nothing where this fails
        paths = system.find(root, **({"on_error": "raise"} if web else {}))
    except Exception as error:  # every file system has errors of its own
        raise LNCLIPError(f"{redacted(url)} cannot be listed: {_why(error)}") from error
    found, root = Found(), root.rstrip("/") + "/"
    names = _taken([path[len(root) :] for path in sorted(paths) if path.startswith(root)], found, sequences)
    if not names:
        passed = "".join(f"; {note}" for note in found.notes())
        raise LNCLIPError(f"no video below {redacted(url)}; accepted are {' '.join(s[1:] for s in SUFFIXES)}{passed}")
    top = address._replace(path=address.path.rstrip("/") + "/")
    urls = [top._replace(path=top.path + name).geturl() for name in names]
    found.videos = unique_keys(zip(names, urls, strict=True))
    return found


def _taken(names, found, sequences):
    """The names of videos and images, those of an earlier run and of image sequences left out and counted."""
    below, images = defaultdict(set), defaultdict(list)
    for name in map(PurePosixPath, names):
        for folder in name.parents:
            below[folder.parent].add(folder.name)
        if name.suffix.lower() in IMAGE_SUFFIXES:
            images[name.parent].append(name)
    frames = {name for each in images.values() if is_sequence(each, sequences) for name in each}

    def fault(text):
        name = PurePosixPath(text)
        if any(folder.name in earlier_run(below[folder.parent]) for folder in name.parents):
            return "folders of an earlier run"
        if any(part.startswith(".") for part in name.parts) or text != str(name) or name.is_absolute():  # "..", "a//b"
            return "hidden"
        if name in frames:
            return "numbered images, which are read from a folder alone"
        return None if name.suffix.lower() in SUFFIXES else name.suffix.lower() or "without a suffix"

    faults = {name: fault(name) for name in names}
    found.skipped.update(filter(None, faults.values()))
    return [name for name in names if faults[name] is None]


def source_state(path: str) -> tuple[int, int]:
    """The size of a source in bytes, and a number that changes when it does: of a file, its time in nanoseconds.

    Raises:
        OSError: it is not there, or not to be reached.
    """
    if not is_url(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    try:
        system, name = _opened(path)
        info = system.info(name)
    except Exception as error:
        raise OSError(_why(error)) from error
    version = next((str(info[key]) for key in VERSION if info.get(key)), "")
    return info.get("size") or 0, int(hashlib.sha256(version.encode()).hexdigest()[:15], 16)


@contextmanager
def local_file(path: str) -> Iterator[str]:
    """Yield a source's path on the local disk: its own or, of a URL, that of a copy, which is then deleted.

    Raises:
        UnreadableVideo: it cannot be copied.
    """
    if not is_url(path):
        yield path
        return
    with scratch_folder() as folder:
        copy = os.path.join(folder, "video" + PurePosixPath(urlsplit(path).path).suffix)
        try:
            system, name = _opened(path)
            system.get_file(name, copy)
        except Exception as error:
            raise UnreadableVideo(f"cannot be copied from {redacted(path)}: {_why(error)}") from error
        yield copy


def _opened(url):
    """The file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise LNCLIPError("a URL needs fsspec; install the extra: pip install 'lnclip-df[cloud]'") from error
    return url_to_fs(url)


def _why(error) -> str:
    return redacted(f"{type(error).__name__}: {one_line(error)}")
