"""``lnclip-df predict``: score files, draw what was asked for beside them, and go on where a run was broken off."""

from collections.abc import Callable
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import sha256
from lnclip_df.core.plots import new_figure
from lnclip_df.scoring.annotate import annotate
from lnclip_df.scoring.explanations import explain
from lnclip_df.scoring.feature_bank import read_bank
from lnclip_df.scoring.inputs import find_media
from lnclip_df.scoring.output import FORMATS, Book, as_json, as_text
from lnclip_df.scoring.scorer import Scorer, settings_of


def score_files(
    load: Callable[[], Scorer], paths, *, out=None, format: str = "table", annotated=None, explained=None, bank=None,
    progress: bool = True, **options,
) -> tuple[list[dict], str]:  # fmt: skip
    """Score videos and images, one row a file.

    Args:
        load: gives what :func:`lnclip_df.load` does; called when all else is known to be in order, for it takes long.
        paths: see :func:`lnclip_df.scoring.inputs.find_media`.
        out: file for the rows. A run that was broken off goes on with the same ``out``.
        format: of the text and of ``out``: ``table``, ``csv`` or ``jsonl``.
        annotated: folder for a copy of each file with boxes and scores, and its timeline.
        explained: folder for a picture of the most suspicious faces with their heat maps.
        bank: file of a feature bank; the nearest training examples are named too (with ``explained``).
        progress: show a progress bar.
        **options: of :meth:`lnclip_df.scoring.Scorer.results`.

    Returns:
        The rows, as :func:`lnclip_df.scoring.output.as_json` makes them with the hash of the weights and the pictures
        that were written, in order; and their text in ``format``.

    Raises:
        LNCLIPError: an argument is unfit, or something cannot be written; what was finished is kept.
    """
    from tqdm import tqdm

    if format not in FORMATS:
        raise LNCLIPError(f"--format {format}: accepted are {', '.join(FORMATS)}")
    if bank is not None and explained is None:
        raise LNCLIPError("--bank names the nearest examples of the faces that --explain DIR shows; give that too")
    if annotated is not None or explained is not None:
        new_figure(1, 1)  # without matplotlib, say so before anything is scored
    settings_of(**{key: value for key, value in options.items() if key not in ("all_faces", "aligned", "longest")})
    media, scorer = find_media(paths), load()
    examples = None if bank is None else read_bank(bank, weights_sha256=scorer.weights["sha256"])
    pictures = {"annotated": annotated, "explained": explained, "bank": None if bank is None else sha256(bank)}
    book = None if out is None else Book(out, _facts(scorer, options, pictures))
    rows = {} if book is None else {m.path: row for m in media if (row := book.row(m.path)) is not None}
    left = [medium for medium in media if medium.path not in rows]
    with tqdm(total=len(media), initial=len(rows), unit="file", disable=not progress) as bar:
        options |= {"keep": explained is not None, "tick": lambda done, all: bar.set_postfix_str(f"{done}/{all} faces")}
        for medium, result in zip(left, scorer.results(left, **options) if left else (), strict=True):
            row = as_json(result) | {"weights": scorer.weights["sha256"]}
            if annotated is not None:
                row["annotated"] = [str(path) for path in annotate(result, annotated, name=medium.name)]
            if explained is not None:
                row["explained"] = explain(scorer, result, explained, name=medium.name, bank=examples)
            rows[medium.path] = row
            if book is not None:
                book.add(medium.path, row)
            bar.update()
    ordered = [rows[medium.path] for medium in media]
    if book is not None:
        book.finish(ordered, format)
    return ordered, as_text(ordered, format)


def _facts(scorer, options, pictures):
    """What a row depends on."""
    computed = {key: scorer.config["lnclip"][key] for key in ("precision", "resize", "normalize", "backbone")}
    computed |= {key: scorer.config[key] for key in ("resolution", "mean", "std")}
    decided = {"weights": scorer.weights["sha256"], "threshold": scorer.threshold, "temperature": scorer.temperature}
    asked = {key: value for key, value in options.items() if key != "batch_size"}
    drawn = {key: None if value is None else str(Path(value).resolve()) for key, value in pictures.items()}
    return computed | decided | asked | drawn | {"device": scorer.device.type}
