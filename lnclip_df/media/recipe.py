"""The recipe that a face crop carries in its PNG: how it was made, and a short name for that."""

import hashlib
import json
import struct
import zlib
from collections import Counter
from collections.abc import Iterable

KEYWORD = b"lnclip-recipe"
FOREIGN = "foreign"  # crops that carry no recipe: made elsewhere
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = len(SIGNATURE) + 25  # the signature and the IHDR chunk
HEAD = 4096  # bytes of a crop that hold its recipe


def fingerprint(recipe: dict) -> str:
    """Ten hexadecimal digits that stand for a recipe: of the SHA-256 of its JSON with sorted keys.

    >>> fingerprint({"size": 256, "scale": 1.3}) == fingerprint({"scale": 1.3, "size": 256})
    True
    """
    known = {key: value for key, value in recipe.items() if key != "fingerprint"}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:10]


def tag(png: bytes, recipe: dict) -> bytes:
    """Put a recipe and its fingerprint into a PNG's text chunk; the pixels stay as they are.

    Args:
        png: an encoded PNG without a recipe.
        recipe: JSON values; its ``fingerprint`` is added.
    """
    text = json.dumps(recipe | {"fingerprint": fingerprint(recipe)}, sort_keys=True).encode("ascii")
    body = b"tEXt" + KEYWORD + b"\0" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:HEADER] + chunk + png[HEADER:]


def read_recipe(data: bytes) -> dict | None:
    """The recipe in the first ``HEAD`` bytes of a PNG, or None where there is none.

    A text chunk that is no recipe counts as none: whatever the file says, nothing is raised.
    """
    at = len(SIGNATURE)
    while data[: len(SIGNATURE)] == SIGNATURE and at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            return None
        if kind == b"tEXt" and body.startswith(KEYWORD + b"\0"):
            return _parsed(body[len(KEYWORD) + 1 :])
        at += 12 + length
    return None


def _parsed(text):
    try:
        recipe = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return recipe if isinstance(recipe, dict) and isinstance(recipe.get("fingerprint"), str) else None


def count_recipes(files: Iterable[bytes]) -> dict[str, int]:
    """``{fingerprint, or "foreign": number of crops}``, most frequent first, of the first bytes of crops."""
    found = (read_recipe(data) for data in files)
    return dict(Counter(recipe["fingerprint"] if recipe else FOREIGN for recipe in found).most_common())
