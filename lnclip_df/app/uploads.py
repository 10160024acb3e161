"""The uploaded files: leases record which visitor still needs which file; files without a lease are deleted."""

import secrets
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import inside

ABANDONED_AFTER = 120  # seconds after which a file without a lease is deleted, because its upload was interrupted
MAX_AGE = 3600  # seconds after which any lease ends
SWEEP_INTERVAL = 20  # seconds
NO_ROOM = "Too many files are waiting to be checked; please try again in a few minutes."


@dataclass
class _Lease:
    """Files that a visitor needs, each with its state when the lease was made or renewed."""

    session: str
    since: float
    files: dict[Path, tuple] = field(default_factory=dict)


class Uploads:
    """The files in a folder and the leases on them.

    A file is deleted as soon as its last lease ends. Two visitors who upload the same content get the same path, and
    the later upload replaces the earlier one. So a file is kept while another lease has it, and also if it was replaced
    by an upload that has no lease yet.

    Args:
        folder: contains nothing but uploads.
        max_bytes: of all files together.
    """

    def __init__(self, folder, max_bytes: int):
        self.folder, self.max_bytes = Path(folder).resolve(), max_bytes
        self._leases: dict[str, _Lease] = {}
        self._owners: dict[Path, dict[str, float]] = {}  # visitors who uploaded a file, and when
        self._lock = threading.Lock()

    def own(self, visitor: str, paths):
        """Record that a visitor uploaded files."""
        with self._lock:
            for path in paths:
                self._owners.setdefault(inside(self.folder, path), {})[visitor] = time.time()

    def owned(self, visitor: str | None, paths) -> list[Path]:
        """Those of some paths that the visitor uploaded."""
        paths = [inside(self.folder, path) for path in paths]
        with self._lock:
            return [path for path in paths if visitor in self._owners.get(path, ())]

    def lease(self, key: str, session: str, paths):
        """Lease files under a key, in place of those leased under it before.

        Args:
            key: a ticket, or the session itself for the files in the visitor's box.
            session: of the visitor; see :meth:`release_session`.
            paths: of files in the folder; missing files are ignored.

        Raises:
            LNCLIPError: a path is not in the folder.
        """
        files = {path: _state(path) for path in (inside(self.folder, path) for path in paths) if path.is_file()}
        with self._lock:
            before = self._leases.pop(key, None)
            if files:
                self._leases[key] = _Lease(session, time.time(), files)
            self._delete(before)

    def new_ticket(self, session: str, paths) -> str:
        """Lease files for one scoring under a random key, and return it."""
        ticket = secrets.token_urlsafe(16)
        self.lease(ticket, session, paths)
        return ticket

    def add_copy(self, path: Path) -> Path:
        """Put a copy of a file of this package among the uploads, in a folder of its own, and return its path.

        Raises:
            LNCLIPError: there is no room.
        """
        if not self.has_room(path.stat().st_size):
            raise LNCLIPError(NO_ROOM)
        copy = self.folder / secrets.token_urlsafe(16) / path.name
        copy.parent.mkdir()
        return Path(shutil.copyfile(path, copy))

    def files(self, key: str) -> list[Path]:
        """The files leased under a key, in order; none after its release."""
        with self._lock:
            return list(self._leases[key].files) if key in self._leases else []

    def release(self, key: str):
        """End the lease of a key."""
        with self._lock:
            self._delete(self._leases.pop(key, None))

    def release_session(self, session: str):
        """End all leases of a visitor."""
        self._release_where(lambda lease: lease.session == session)

    def has_room(self, size: int) -> bool:
        """Whether the folder has room for ``size`` more bytes."""
        for path in self.folder.rglob("*"):
            with suppress(OSError):
                size += path.stat().st_size if path.is_file() else 0
        return size <= self.max_bytes

    def sweep(self, now: float | None = None):
        """Delete the rest of interrupted uploads, files whose lease is too old, and empty folders.

        The time ``now`` is in seconds since the epoch.
        """
        now = time.time() if now is None else now
        self._release_where(lambda lease: now - lease.since > MAX_AGE)
        with self._lock:
            for path, visitors in [*self._owners.items()]:
                if not path.exists() and now - max(visitors.values()) > ABANDONED_AFTER:
                    del self._owners[path]
            leased = {path for lease in self._leases.values() for path in lease.files}
        for path in sorted(self.folder.rglob("*"), reverse=True):
            with suppress(OSError):
                if path not in leased and now - path.stat().st_mtime > ABANDONED_AFTER:
                    path.rmdir() if path.is_dir() else path.unlink()

    def _release_where(self, condition):
        with self._lock:
            for key in [key for key, lease in self._leases.items() if condition(lease)]:
                self._delete(self._leases.pop(key))

    def _delete(self, lease):
        """Delete the files of an ended lease, except those that another lease has, or that were replaced."""
        for path, state in () if lease is None else lease.files.items():
            others = [other for other in self._leases.values() if path in other.files]
            for other in others:
                other.files[path] = max(other.files[path], state)
            if not others and _state(path) == state:
                path.unlink(missing_ok=True)


@contextmanager
def upload_folder(max_bytes: int):
    """Yield :class:`Uploads` in a new folder that only this user can read; it is swept, and deleted at the end.

    Raises:
        LNCLIPError: the system's folder for temporary files is not writable.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="lnclip-app-", ignore_cleanup_errors=True)
    except OSError as error:
        raise LNCLIPError(
            f"cannot create a folder for uploads: {error.strerror or error}; set TMPDIR to a writable folder"
        ) from error
    ended = threading.Event()

    def sweep():
        while not ended.wait(SWEEP_INTERVAL):
            uploads.sweep()

    with folder as path:
        uploads = Uploads(path, max_bytes)
        sweeper = threading.Thread(target=sweep, daemon=True)
        sweeper.start()
        try:
            yield uploads
        finally:
            ended.set()
            sweeper.join()


def _state(path):
    """Modification time and inode of a file: another upload in its place has another state."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)
