"""What visitors uploaded: which files are still needed, and by whom; all others are deleted."""

import secrets
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import inside

ABANDONED = 120  # seconds after which a file that nobody holds goes: of an upload that was broken off
LONGEST = 3600  # seconds after which any file goes
EVERY = 20  # seconds between two looks at the folder


@dataclass
class _Hold:
    """Files that are needed, each with the state that it was last seen in."""

    session: str
    since: float
    files: dict[Path, tuple] = field(default_factory=dict)


class Uploads:
    """The files in a folder, and who needs them.

    A file goes as soon as nobody holds it. Two visitors who upload the same have it under one path, each upload in
    place of the one before: so a file stays while another holds it, and where it is a newer upload, not held yet.

    Args:
        folder: of the uploads alone.
        most: bytes that all of them may have.
    """

    def __init__(self, folder, most: int):
        self.folder, self.most = Path(folder).resolve(), most
        self._holds, self._lock = {}, threading.Lock()

    def hold(self, key: str, session: str, paths):
        """Hold these files under a key, instead of those that it held before.

        Args:
            key: a ticket, or the session itself for what lies in the visitor's box.
            session: of the visitor; see :meth:`leave`.
            paths: of files in the folder; those that are gone are passed over.

        Raises:
            LNCLIPError: a path is not in the folder.
        """
        files = {path: _state(path) for path in (inside(self.folder, path) for path in paths) if path.is_file()}
        with self._lock:
            before = self._holds.pop(key, None)
            if files:
                self._holds[key] = _Hold(session, time.time(), files)
            self._delete(before)

    def take(self, session: str, paths) -> str:
        """Hold files for one scoring, and return its ticket, which nobody can guess."""
        ticket = secrets.token_urlsafe(16)
        self.hold(ticket, session, paths)
        return ticket

    def files(self, key: str) -> list[Path]:
        """What a key holds, in order; empty once it is dropped."""
        with self._lock:
            return list(self._holds[key].files) if key in self._holds else []

    def drop(self, key: str):
        """Hold nothing under a key any more."""
        with self._lock:
            self._delete(self._holds.pop(key, None))

    def leave(self, session: str):
        """Drop all that a visitor holds."""
        with self._lock:
            for key in [key for key, hold in self._holds.items() if hold.session == session]:
                self._delete(self._holds.pop(key))

    def full(self, more: int) -> bool:
        """Whether the folder has no room for so many more bytes."""
        return sum(_size(path) for path in self.folder.rglob("*")) + more > self.most

    def sweep(self, now: float | None = None):
        """Delete what an upload that was broken off has left, what was held for too long, and empty folders.

        Args:
            now: in seconds since the epoch.
        """
        now = time.time() if now is None else now
        with self._lock:
            for key in [key for key, hold in self._holds.items() if now - hold.since > LONGEST]:
                self._delete(self._holds.pop(key))
            held = {path for hold in self._holds.values() for path in hold.files}
        for path in sorted(self.folder.rglob("*"), reverse=True):
            with suppress(OSError):
                if path not in held and now - path.stat().st_mtime > ABANDONED:
                    path.rmdir() if path.is_dir() else path.unlink()

    def _delete(self, hold):
        """Delete the files of a hold that was taken out, those aside that another holds, or that were replaced."""
        for path, state in () if hold is None else hold.files.items():
            others = [other for other in self._holds.values() if path in other.files]
            for other in others:
                other.files[path] = max(other.files[path], state)
            if not others and _state(path) == state:
                path.unlink(missing_ok=True)


@contextmanager
def upload_folder(most: int):
    """Yield :class:`Uploads` in a new folder that only this user can read; it is swept, and deleted at the end.

    Raises:
        LNCLIPError: the system's folder for temporary files cannot be written to.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="lnclip-app-", ignore_cleanup_errors=True)
    except OSError as error:
        raise LNCLIPError(f"no folder for uploads: {error.strerror or error}; set TMPDIR to one") from error
    done = threading.Event()
    with folder as path:
        uploads = Uploads(path, most)
        sweeper = threading.Thread(target=_sweep_until, args=(uploads, done), daemon=True)
        sweeper.start()
        try:
            yield uploads
        finally:
            done.set()
            sweeper.join()


def _sweep_until(uploads, done):
    while not done.wait(EVERY):
        uploads.sweep()


def _state(path):
    """When the file at a path was written, and which it is: an upload of the same in its place has another state."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def _size(path):
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
