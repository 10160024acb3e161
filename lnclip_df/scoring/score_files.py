"""Score files and write the rows, annotated copies and explanations; an interrupted run resumes."""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_not_read, check_writable, sha256
from lnclip_df.core.iteration import part_of
from lnclip_df.core.plots import new_figure
from lnclip_df.faces.tracking import shared_embedding
from lnclip_df.scoring.annotate import annotate
from lnclip_df.scoring.explanations import explain
from lnclip_df.scoring.feature_bank import read_bank
from lnclip_df.scoring.finder_process import to_try_again
from lnclip_df.scoring.heatmaps import require_attention
from lnclip_df.scoring.inputs import find_inputs
from lnclip_df.scoring.options import ScoreOptions
from lnclip_df.scoring.output import FIELDS, FORMATS, FRAME_FIELDS, as_json, as_text
from lnclip_df.scoring.results_log import ResultsLog
from lnclip_df.scoring.scorer import Scorer

logger = logging.getLogger(__name__)


def score_files(
    load: Callable[[], Scorer], paths, options: ScoreOptions, *, out=None, format: str = "table", annotate_to=None,
    explain_to=None, bank=None, sequences: bool = False, progress: bool = True, shard: str | None = None,
    workers: int | None = None,
) -> tuple[list[dict], str]:  # fmt: skip
    """Score videos and images, one row per file.

    Args:
        load: returns the scorer. It is called after all other arguments were checked, because loading is slow.
        paths, sequences: see :func:`lnclip_df.scoring.inputs.find_inputs`.
        out: file for the rows. An interrupted run with the same ``out`` resumes; it tries files again whose process
            died or took too long.
        format: of the text and of ``out``: ``table``, ``csv`` or ``jsonl``.
        annotate_to: folder for annotated copies, see :func:`~lnclip_df.scoring.annotate.annotate`.
        explain_to: folder for pictures, see :func:`~lnclip_df.scoring.explanations.explain`.
        bank: file of a feature bank, whose nearest training examples are named; needs ``explain_to``.
        shard: ``i/n``: score only the i-th of n parts of the files. The shard that finishes last writes ``out``, as
            one run over all files would write it.
        workers: see :meth:`lnclip_df.scoring.Scorer.results`.

    Returns:
        The rows in order, those of the shard, as :func:`lnclip_df.scoring.output.as_json` makes them, with the hash of
        the weights and the pictures that were written; and their text in ``format``.

    Raises:
        LNCLIPError: an argument is invalid, or something cannot be written; finished rows are kept.
    """
    from tqdm import tqdm

    _check(format, out, annotate_to, explain_to, bank)
    part = part_of(shard)
    files = find_inputs(paths, sequences=sequences)
    check_not_read([] if out is None else [out], (file.path for file in files))
    scorer, inputs = load(), files[part]
    if explain_to is not None:
        require_attention(scorer.detector)
    examples = None if bank is None else read_bank(bank, weights_sha256=scorer.weights.sha256)
    log = None
    if out is not None:
        log = ResultsLog(out, _provenance(scorer, options, annotate_to, explain_to, bank), shard)
    logged = {} if log is None else {file.path: log.row(file.path) for file in inputs}
    rows = {path: row for path, row in logged.items() if row is not None and not to_try_again(row)}
    left = [file for file in inputs if file.path not in rows]
    if left:
        with (
            tqdm(total=len(inputs), initial=len(rows), unit="file", disable=not progress) as bar,
            closing(scorer.results(
                left, options, keep_crops=explain_to is not None, workers=workers,
                on_progress=lambda scored, found: bar.set_postfix_str(f"{scored}/{found} faces"),
            )) as results,
        ):  # fmt: skip
            for file, result in zip(left, results, strict=True):
                row = as_json(result) | {"weights": scorer.weights.sha256}
                if annotate_to is not None:
                    row["annotated"] = [str(path) for path in annotate(result, annotate_to, name=file.name)]
                if explain_to is not None:
                    row["explained"] = explain(scorer, result, explain_to, name=file.name, bank=examples)
                rows[file.path] = row
                if log is not None:
                    log.add(file.path, row)
                bar.update()
    ordered = [rows[file.path] for file in inputs]
    if log is not None:
        _finish(log, files, rows, format)
    return ordered, as_text(ordered, format)


def _check(format, out, annotate_to, explain_to, bank):
    """Fail before anything is scored where an argument is invalid, or something cannot be drawn or written."""
    if format not in FORMATS:
        raise LNCLIPError(f"format: {format!r} received; accepted are {', '.join(FORMATS)}")
    if bank is not None and explain_to is None:
        raise LNCLIPError("bank: it names the nearest examples of the faces that explain_to shows; set explain_to too")
    if annotate_to is not None or explain_to is not None:
        new_figure(1, 1)  # fails where matplotlib is missing
    for path, folder in ((out, False), (annotate_to, True), (explain_to, True)):
        if path is not None:
            check_writable(path, folder=folder)


def _finish(log, files, rows, format):
    """Write the final file if the rows of all files are there: those of this run, and of other shards."""

    def found():
        return [rows.get(file.path) or log.row(file.path) for file in files]

    if None in (ordered := found()):
        log.read()
        ordered = found()
    if None not in ordered:
        log.finish(ordered, format)
    elif log.pending.exists():  # else another shard has written the final file meanwhile
        scored = len(files) - ordered.count(None)
        logger.info("%d of %d files are scored; the shard that finishes last writes %s", scored, len(files), log.path)


def _provenance(scorer, options, annotate_to, explain_to, bank):
    """What a row depends on."""
    folders = {"annotated": annotate_to, "explained": explain_to}
    return {
        **scorer.config.predicting(),
        **{name: value for name, value in asdict(options).items() if name != "batch_size"},
        **{name: None if folder is None else str(Path(folder).resolve()) for name, folder in folders.items()},
        "people": shared_embedding().recipe if options.all_faces or options.face != "largest" else None,
        "fields": [*FIELDS, *FRAME_FIELDS],
        "bank": None if bank is None else sha256(bank),
        "weights": scorer.weights.sha256,
        "threshold": scorer.threshold,
        "temperature": scorer.temperature,
        "device": scorer.device.type,
    }
