"""The recipe that a face crop carries in its PNG: how it was made, and a short name for that."""

import json
import struct
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from lnclip_df.core.files import parse_json
from lnclip_df.core.nested import flatten
from lnclip_df.core.provenance import digest

KEYWORD = b"lnclip-recipe"
FOREIGN = "foreign"  # crops that carry no recipe: made elsewhere
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = len(SIGNATURE) + 25  # the signature and the IHDR chunk
HEAD = 4096  # bytes of a crop that contain its recipe


@dataclass(frozen=True)
class Recipe:
    """How a crop was made.

    Attributes:
        facts: JSON values: ``detector``, ``face``, ``alignment``, ``size``, ``scale``, ``sampling``, and ``frames``,
            what was done to the frames of this video (see :meth:`of_video`). Crops of another version may say more or
            less.
        fingerprint: ten hexadecimal digits of the SHA-256 of the facts without ``frames``, computed where it is not
            given.

    >>> Recipe({"size": 256, "scale": 1.3}) == Recipe({"scale": 1.3, "size": 256})
    True
    """

    facts: dict
    fingerprint: str = ""

    def __post_init__(self):
        facts = {key: value for key, value in self.facts.items() if key != "fingerprint"}
        object.__setattr__(self, "facts", facts)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", digest(self.of_the_run)[:10])

    @property
    def of_the_run(self) -> dict:
        """The facts without what was done to a single video's frames."""
        return {key: value for key, value in self.facts.items() if key != "frames"}

    def of_video(self, changes: dict[str, str]) -> "Recipe":
        """The recipe of one video's crops: with what was done to its frames before faces were searched, if anything.

        Its fingerprint is the same, for it names how the run cuts faces.
        """
        return Recipe({**self.facts, "frames": changes}, self.fingerprint) if changes else self

    def to_dict(self) -> dict:
        """The facts and their fingerprint as JSON values."""
        return {**self.facts, "fingerprint": self.fingerprint}

    def differences(self, newer: "Recipe") -> str:
        """The facts in which a newer recipe differs, as ``size 128, now 256``; empty where there are none."""
        old, new = flatten(self.facts), flatten(newer.facts)
        keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
        return "; ".join(f"{key} {old.get(key, 'none')}, now {new.get(key, 'none')}" for key in keys)


def add_recipe(png: bytes, recipe: Recipe) -> bytes:
    """Put a recipe into the text chunk of an encoded PNG that has none; the pixels stay as they are."""
    text = json.dumps(recipe.to_dict(), sort_keys=True).encode("ascii")
    body = b"tEXt" + KEYWORD + b"\0" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:HEADER] + chunk + png[HEADER:]


def read_recipe(data: bytes) -> Recipe | None:
    """The recipe in the first ``HEAD`` bytes of a PNG; None where there is no valid one. It raises nothing."""
    start = len(SIGNATURE)
    while data[: len(SIGNATURE)] == SIGNATURE and start + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[start : start + 8])
        body = data[start + 8 : start + 8 + length]
        if kind == b"IDAT":
            return None
        if kind == b"tEXt" and body.startswith(KEYWORD + b"\0"):
            return _parsed(body[len(KEYWORD) + 1 :])
        start += 12 + length
    return None


def _parsed(text):
    try:
        facts = parse_json(text)
    except ValueError:
        return None
    stated = facts.get("fingerprint") if isinstance(facts, dict) else None
    return Recipe(facts, stated) if stated and isinstance(stated, str) else None


def recipe_facts(recipes: Iterable[Recipe | None]) -> dict[str, dict]:
    """``{fingerprint: facts}`` of the recipes of crops, without what was done to single videos."""
    return {recipe.fingerprint: recipe.of_the_run for recipe in recipes if recipe}


def how_cut(facts: Mapping) -> dict:
    """How a recipe cuts a face, whichever and however many frames it takes: crops with equal values are alike."""
    return {key: value for key, value in facts.items() if key not in ("sampling", "frames")}


def departure(
    crops: Iterable[str], trained: Iterable[str], facts: Mapping[str, dict], *, sampling: bool = False,
    named_faces: Container[str] = (),
) -> str:  # fmt: skip
    """In which settings crops were cut differently from those of a training; empty where they were not.

    Args:
        crops, trained: fingerprints of recipes, or ``foreign``.
        facts: what the recipes say, as far as it is recorded; see ``recipe_facts``.
        sampling: count it as a difference which frames were taken; see ``how_cut``.
        named_faces: choices of face between which there is no difference, because the datasets' own YAMLs make them.

    >>> departure(["a"], ["b"], {"a": {"size": 256}, "b": {"size": 128}})
    'size 128, now 256'
    """
    trained = list(trained)
    others = [name for name in crops if name not in trained]
    if not trained or not others:
        return ""
    said = facts if sampling else {name: how_cut(known) for name, known in facts.items()}
    told = {_difference(said.get(name), said.get(trained[0]), name, named_faces) for name in others}
    return "; ".join(sorted(filter(None, told)))


def _difference(now, before, name, named_faces):
    if now is None or before is None:
        return "crops without a recipe" if name == FOREIGN else "which setting differs is not recorded"
    if now.get("face") in named_faces and before.get("face") in named_faces:
        before, now = ({k: v for k, v in facts.items() if k not in ("face", "people")} for facts in (before, now))
    return Recipe(before).differences(Recipe(now))


def count_recipes(recipes: Iterable[Recipe | None]) -> dict[str, int]:
    """``{fingerprint, or "foreign": number of crops}``, most frequent first, of the recipes of crops."""
    return dict(Counter(map(recipe_name, recipes)).most_common())


def recipe_name(recipe: Recipe | None) -> str:
    """The fingerprint of a crop's recipe, ``foreign`` where it has none."""
    return recipe.fingerprint if recipe else FOREIGN
