"""Find a file of weights: a file, a folder, or a repository of the Hugging Face Hub, whose cache comes first."""

import difflib
import logging
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from lnclip_df.core.errors import LNCLIPError, one_line
from lnclip_df.weights.zoo import ReleasedModel, released_models

# File names of a detector's weights in a folder or a repository; the first that exists is used.
NAMES = ("best.safetensors", "model.safetensors", "model.ckpt", "pytorch_model.bin", "ckpt_best.pth")
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
SUFFIXES = {Path(name).suffix for name in NAMES} | {".pt", ".onnx"}  # of files: a repository's name has none of them

logger = logging.getLogger(__name__)


def find_weights(path_or_hub_id) -> Path:
    """Return the file of a detector's weights.

    Args:
        path_or_hub_id: a file; a folder that contains one of ``NAMES``; or a Hub repository, ``owner/name``, which is
            downloaded once, with its ``config.json``, and then taken from the cache. A name that looks like a mistyped
            path, because a folder here has nearly the name of the owner, is a missing file: the Hub is not asked.

    Raises:
        LNCLIPError: there is none, or the Hub cannot be reached; the message says which file to put where.
    """
    path = Path(path_or_hub_id).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        found = [path / name for name in NAMES if (path / name).is_file()]
        if not found:
            raise LNCLIPError(
                f"the folder {path} contains no weights; name a file, or put one of {', '.join(NAMES)} there"
            )
        return found[0]
    name = str(path_or_hub_id)
    if not HUB_ID.fullmatch(name) or ".." in name or path.suffix in SUFFIXES or path.parent.exists():
        raise LNCLIPError(f"no weights file {path}{_released_hint(name)}")
    if (cached := in_hub_cache(name, NAMES)) is not None:
        return cached
    if near := difflib.get_close_matches(path.parts[0], os.listdir(), n=1, cutoff=0.7):
        raise LNCLIPError(f"no weights file {path}; did you mean {Path(near[0], *path.parts[1:])}?")
    logger.info("there is no file %s here: fetching the weights of that name from the Hugging Face Hub", name)
    return _download(name)


def _released_hint(name):
    """The released models of nearly this name, and all of them where it can be no path."""
    models = released_models()
    if near := difflib.get_close_matches(name, models, n=3):
        return f"; did you mean {' or '.join(near)}?"
    return "" if Path(name).name != name or Path(name).suffix else f"; released models are {', '.join(models)}"


def fetch_model(model: ReleasedModel) -> Path:
    """Return the file of a released model, at its revision; it is downloaded once, and then taken from the cache.

    Raises:
        LNCLIPError: the Hub cannot be reached, or does not have the file.
    """
    if (cached := in_hub_cache(model.hub, [model.file], model.revision)) is not None:
        return cached
    logger.info("fetching %s of %s from the Hugging Face Hub", model.file, model.hub)
    return _download(model.hub, (model.file,), model.revision)


def _download(repository, names=NAMES, revision=None):
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fetch(name):
        try:
            return fetched(repository, name, revision)
        except LocalEntryNotFoundError:  # an EntryNotFoundError: the Hub cannot be reached
            raise
        except EntryNotFoundError:
            return None

    try:
        fetch("config.json")
        found = next(filter(None, map(fetch, names)), None)
    except Exception as error:  # whatever a network, a proxy or a hub can raise
        file = "model.safetensors" if names is NAMES else names[0]
        raise LNCLIPError(
            f"no file {repository}, and it cannot be fetched from the Hugging Face Hub ({one_line(error)[:200]}). On a "
            f"machine with a network, download its {file} and config.json, put both into one folder here, and name "
            "that folder"
        ) from error
    if found is None:
        raise LNCLIPError(f"{repository} on the Hugging Face Hub has none of {', '.join(names)}; name a file instead")
    return found


def fetched(repository: str, name: str, revision: str | None = None) -> Path:
    """Return a file of a Hub repository, which is downloaded; OSError or an error of the Hub's client if it cannot."""
    from huggingface_hub import hf_hub_download

    require_hub()
    return Path(hf_hub_download(repository, name, revision=revision))


def in_hub_cache(repository: str, names, revision: str | None = None) -> Path | None:
    """Return the first of these files of a Hub repository (at a revision, or the newest) in the cache, else None."""
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(repository, name, revision=revision) for name in names)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def require_hub():
    """Raise OSError if the Hub's host name does not resolve: its client would try for a minute."""
    from huggingface_hub import constants

    if getproxies():
        return
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError as error:
        raise OSError("no network: the Hub's name does not resolve") from error
