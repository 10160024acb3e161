"""The command line: every command reads its options and calls one room; errors are one line, without a traceback."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lnclip_df import __version__
from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.names import split_names

Config = Annotated[str, typer.Option(help="A YAML file, or the name of a packaged one (see: lnclip-df configs).")]
WeightsConfig = Annotated[
    str | None,
    typer.Option(
        help="As for train; by default config.yaml beside the weights, else the one saved in them, else lnclip.yaml."
    ),
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one key: --set lnclip.slerp.enabled=false")
]
Folders = Annotated[
    list[str], typer.Option("--map", metavar="NAME=PATH", help="Where a folder that the dataset's YAML names lies.")
]
Dataset = Annotated[str, typer.Argument(help="Its name (see: lnclip-df datasets), or a YAML file of your own.")]
Root = Annotated[Path, typer.Option(help="Folder that holds the datasets' folders, with their lists.")]
Faces = Annotated[Path | None, typer.Option(help="Folder that holds those with the faces; --root by default.")]
Level = Annotated[str | None, typer.Option(help="The one compression level to take, such as c23.")]
Workers = Annotated[int | None, typer.Option(help="Processes; as many as there are cores by default.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="LNCLIP-val: do without parts that are not on disk.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
StudiedRun = Annotated[Path, typer.Argument(help="Folder of a run with predictions, or a CSV of another tool's.")]
StudiedSets = Annotated[list[str], typer.Option(help="Names, with commas or repeated; all of the run by default.")]
StudyOut = Annotated[Path | None, typer.Option(help="Folder for the results; RUN/studies/NAME by default.")]
StudyResamples = Annotated[int, typer.Option(min=0, help="Of the bootstrap; 0 leaves the AUROC's intervals out.")]
Checkout = Annotated[Path, typer.Argument(help="Root of a DeepfakeBench checkout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Also replace or remove files of ours that you have edited.")]


class _Group(typer.core.TyperGroup):
    """Turns the errors that a user can mend, Ctrl-C and a closed pipe into an exit status."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except LNCLIPError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None


class _Lines(logging.Handler):
    """Writes a line to stderr, above any progress bar."""

    def emit(self, record):
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


app = typer.Typer(cls=_Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main():
    """Entry point of ``lnclip-df`` and ``python -m lnclip_df``."""
    app()


def _print_version(wanted: bool):
    if wanted:
        typer.echo(f"lnclip-df {__version__}")
        raise typer.Exit


@app.callback()
def _setup(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
):
    """Deepfake detection with LNCLIP-DF (arXiv 2508.06248), alone or inside DeepfakeBench.

    In order: preprocess videos into faces, rearrange these into dataset JSONs, audit them, train, test, and compare
    runs in a leaderboard; lnclip-df demo shows it on a CPU. For a DeepfakeBench checkout: install, doctor, bench-run.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads of torch would spin on the loader's cores
    logger = logging.getLogger("lnclip_df")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.INFO if os.environ.get("LOCAL_RANK", "0") == "0" else logging.WARNING)
    logger.propagate = False


@app.command()
def train(
    config: Config = "lnclip.yaml",
    overrides: Overrides = (),
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME_OF_THE_YAML by default.")] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="CHECKPOINT", help="Weights to begin with, of any format that test takes."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished epoch in --out.")] = False,
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, gpu, cpu, …")] = "auto",
    devices: Annotated[str, typer.Option(help="How many of each node's devices (2), or which (0,3).")] = "auto",
    num_nodes: Annotated[int, typer.Option(min=1, help="How many machines.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's: auto, ddp, …")] = "auto",
    quiet: Quiet = False,
):
    """Train a detector, validate it after every epoch, keep the best.

    Example: lnclip-df train --config lnclip.yaml --set train_batchSize=64 --out runs/first

    Example: lnclip-df train --config training/ffiw.yaml --from runs/first/best.safetensors --out runs/second
    --set 'lnclip.replay={datasets: [FaceForensics++], share: 0.1}'

    The run's folder gets best.safetensors (highest validation video AUROC), config.yaml, history.json, TensorBoard's
    events under tensorboard/, and checkpoints/last.ckpt to go on from: the same command with --resume. --from (in the
    YAML: lnclip.start_from) trains weights further on new data; lnclip.replay mixes in a share of the old.
    """
    from lnclip_df.config.loading import load_config
    from lnclip_df.training.train import train

    switches = {"accelerator": accelerator, "devices": _devices(devices), "num_nodes": num_nodes, "strategy": strategy}
    out = out or Path("runs") / Path(config).stem
    if start is not None:
        overrides = [*overrides, f"lnclip.start_from={json.dumps(start)}"]
    train(load_config(config, overrides), out, resume=resume, progress=not quiet, **switches)


@app.command()
def test(
    weights: Annotated[Path, typer.Option(help="best.safetensors of a run, or DeepfakeBench's ckpt_best.pth.")],
    config: WeightsConfig = None,
    overrides: Overrides = (),
    datasets: Annotated[
        list[str], typer.Option(help="Names, with commas or repeated; lnclip.benchmarks of the YAML by default.")
    ] = (),
    out: Annotated[Path | None, typer.Option(help="Folder of the run; the weights' own by default.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cuda, cuda:1, cpu, …; a GPU by default where there is one.")
    ] = None,
    save_features: Annotated[
        bool, typer.Option("--save-features", help="Also keep each frame's feature, for lnclip-df aggregate.")
    ] = False,
    quiet: Quiet = False,
):
    """Test a detector on the test split of one or more data sets.

    Example: lnclip-df test --weights runs/first/best.safetensors --datasets Celeb-DF-v2,DFDC

    Each data set gives predictions/NAME.parquet, a row a frame, and metrics/NAME.json. Those finished before with the
    same weights, configuration and frames are not computed again.
    """
    from lnclip_df.evaluation.test import test
    from lnclip_df.weights.restore import config_for

    config, names = config_for(weights, config, overrides), split_names(datasets)
    options = {"device": device, "progress": not quiet, "save_features": save_features}
    results = test(config, weights, out or _folder_of(weights), datasets=names, **options)
    for line in _table(results):
        typer.echo(line)


@app.command()
def predict(
    paths: Annotated[
        list[str], typer.Argument(help="Videos, images, folders of them, or patterns ('clips/**/*.mp4').")
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="As for test, or a Hub repository; else $LNCLIP_WEIGHTS, else the authors' yermandy/GenD_CLIP_L_14."
        ),
    ] = None,
    format: Annotated[
        str, typer.Option(help="table, csv, or jsonl (one JSON object a line, with every frame).")
    ] = "table",
    out: Annotated[Path | None, typer.Option(help="Write to this file; a run that was broken off goes on.")] = None,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder for copies with boxes and scores, and a timeline of each video.")
    ] = None,
    explain: Annotated[Path | None, typer.Option(help="Folder for heat maps of the most suspicious faces.")] = None,
    bank: Annotated[
        Path | None, typer.Option(help="With --explain: a feature bank (lnclip-df bank), to name the nearest examples.")
    ] = None,
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Score every person; the score is the most suspicious one's.")
    ] = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The images are aligned faces already, as preprocess makes them.")
    ] = False,
    frames: Annotated[int, typer.Option(help="Frames a video, evenly spaced.")] = 32,
    face: Annotated[
        str, typer.Option(help="Whose face where there are several: largest, or track (one person).")
    ] = "largest",
    threshold: Annotated[
        float | None,
        typer.Option(help="Above which a score is fake; that of lnclip-df calibrate by default, without it 0.5."),
    ] = None,
    longest: Annotated[float | None, typer.Option("--max-seconds", help="Refuse videos longer than this.")] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Faces that the detector takes at once, of several files.")
    ] = 32,
    precision: Annotated[str, typer.Option(help="fp32, bf16, or auto: what is faster here.")] = "auto",
    detector: Annotated[str, typer.Option(help="Of faces: as for preprocess.")] = "retinaface",
    predictor: Annotated[Path | None, typer.Option(help="With dlib: its predictor file.")] = None,
    config: WeightsConfig = None,
    overrides: Overrides = (),
    device: Annotated[str | None, typer.Option(help="As for test.")] = None,
    quiet: Quiet = False,
):
    """Score videos and images: is this a deepfake?

    Example: lnclip-df predict clip.mp4 --weights runs/first/best.safetensors

    Example: lnclip-df predict 'clips/*.mp4' --format jsonl --out scores.jsonl --annotate annotated

    A file's score is the mean probability of fake over its frames. A file without a face, or that cannot be read, has
    none and says so; the exit status is 1 then. A score is evidence, not proof.
    """
    from lnclip_df.scoring import ScoreOptions, load
    from lnclip_df.scoring.score_files import score_files

    def load_scorer():
        return load(
            weights, config=config, overrides=overrides, device=device, precision=precision, threshold=threshold
        )

    options = ScoreOptions(
        frames=frames,
        face="largest" if aligned else face,
        detector=detector,
        predictor=None if predictor is None else str(predictor),
        all_faces=all_faces,
        aligned=aligned,
        max_seconds=longest,
        batch_size=batch_size,
    )
    rows, text = score_files(
        load_scorer, paths, options, out=out, format=format, annotate_to=annotate, explain_to=explain, bank=bank,
        progress=not quiet,
    )  # fmt: skip
    typer.echo(text if out is None else f"{out}: {len(rows)} files", nl=out is not None)
    raise typer.Exit(0 if all(row["score"] is not None for row in rows) else 1)


@app.command()
def bank(
    weights: Annotated[str, typer.Option(help="As for predict, which compares faces with the bank.")],
    config: WeightsConfig = None,
    overrides: Overrides = (),
    datasets: Annotated[
        list[str], typer.Option(help="Names, with commas or repeated; train_dataset of the YAML by default.")
    ] = (),
    split: Annotated[str, typer.Option(help="Of the data sets: train, val or test.")] = "train",
    frames: Annotated[int, typer.Option(help="Frames a video, evenly spaced.")] = 8,
    out: Annotated[Path, typer.Option(help="The bank, a .safetensors file.")] = Path("bank.safetensors"),
    device: Annotated[str | None, typer.Option(help="As for test.")] = None,
    quiet: Quiet = False,
):
    """Keep the features of the training frames, for predict to name the training examples nearest to a face.

    Example: lnclip-df bank --weights runs/first/best.safetensors --out runs/first/bank.safetensors

    A bank is of one file of weights, and is refused with others. It holds features and paths, no pictures.
    """
    from lnclip_df.scoring import load
    from lnclip_df.scoring.feature_bank import make_bank

    scorer = load(weights, config=config, overrides=overrides, device=device)
    options = {"datasets": split_names(datasets), "split": split, "frames": frames, "progress": not quiet}
    made = make_bank(scorer, out, **options)
    typer.echo(f"{out}: {len(made.frames)} frames of {len(set(made.video.tolist()))} videos")


@app.command("app")
def serve_page(
    weights: Annotated[str | None, typer.Option(help="As for predict.")] = None,
    host: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0: to everybody in the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7860,
    max_mb: Annotated[float, typer.Option("--max-mb", help="Megabytes that one upload may have.")] = 200,
    max_seconds: Annotated[float, typer.Option("--max-seconds", help="Seconds that a video may last.")] = 300,
    threshold: Annotated[float | None, typer.Option(help="As for predict.")] = None,
    config: WeightsConfig = None,
    overrides: Overrides = (),
    device: Annotated[str | None, typer.Option(help="As for test.")] = None,
):
    """Serve a page in the browser that scores uploaded videos and images.

    Example: lnclip-df app --weights runs/first/best.safetensors

    Nothing is asked of the network, and uploads are deleted once they are scored.
    """
    from lnclip_df.app import listen, serve
    from lnclip_df.scoring import load

    with listen(host, port) as where:
        scorer = load(weights, config=config, overrides=overrides, device=device, threshold=threshold)
        serve(scorer, where, max_mb=max_mb, max_seconds=max_seconds)


@app.command()
def preprocess(
    source: Annotated[Path | None, typer.Argument(help="A video, an image, or a folder of them.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Instead: a benchmark (see: lnclip-df datasets).")] = None,
    root: Annotated[
        Path | None, typer.Option(help="With --dataset: the folder that holds the dataset folders.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the faces; with --dataset, beside the videos by default.")
    ] = None,
    folders: Folders = (),
    level: Annotated[str | None, typer.Option(help="With --dataset: the compression, such as c23.")] = None,
    split: Annotated[
        list[str], typer.Option(help="With --dataset: only train, val or test; repeat it for several.")
    ] = (),
    frames: Annotated[int, typer.Option(help="Frames a video.")] = 32,
    sampling: Annotated[
        str,
        typer.Option(help="fixed_num_frames (evenly spaced), fixed_stride, or at_least (go on until enough faces)."),
    ] = "fixed_num_frames",
    stride: Annotated[int, typer.Option(help="With fixed_stride: every how many frames.")] = 10,
    detector: Annotated[
        str, typer.Option(help="retinaface, dlib, or the path of an InsightFace .onnx file.")
    ] = "retinaface",
    predictor: Annotated[Path | None, typer.Option(help="With dlib: its 68- or 81-point predictor file.")] = None,
    second_detection: Annotated[
        bool, typer.Option("--second-detection", help="With dlib: drop crops without a second detection.")
    ] = False,
    face: Annotated[
        str | None,
        typer.Option(help="largest, track (one person), or mask; the dataset's own by default, else largest."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of a face's image in pixels.")] = 256,
    scale: Annotated[float, typer.Option(help="Enlargement of the crop around the face.")] = 1.3,
    workers: Workers = None,
    scheduler: Annotated[str | None, typer.Option(help="A Dask scheduler instead: tcp://host:8786")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only the i-th of n parts, for job arrays.")] = None,
    quiet: Quiet = False,
):
    """Cut aligned faces out of videos; videos that are finished are passed over.

    Example: lnclip-df preprocess videos/ --out datasets/rgb/mine

    Example: lnclip-df preprocess --dataset Celeb-DF-v2 --root datasets/rgb

    Faces go to frames/, their landmarks to landmarks/, masks to masks/; records/ says what is finished, and manifests/
    holds a table of all videos, what made them, and a sheet of random crops to look at. Started again, it goes on.
    Crops of other settings are never mixed in.
    """
    from lnclip_df.preprocess import CropSettings, RunOptions, preprocess, preprocess_dataset

    settings = CropSettings(
        sampling=sampling, frames=frames, stride=stride, detector=detector, second_detection=second_detection,
        predictor=None if predictor is None else str(predictor), face=face, size=size, scale=scale,
    )  # fmt: skip
    run = RunOptions(workers, scheduler, shard, progress=not quiet)
    if (source is None) == (dataset is None):
        raise LNCLIPError("name either a video or folder, or --dataset NAME with --root DIR")
    if dataset is not None:
        _required(root, "--root")
        how = {"splits": split, "level": level, "folders": _folders(folders)}
        summary = preprocess_dataset(dataset, root, out, settings, run, **how)
    else:
        _required(out, "--out")
        summary = preprocess(source, out, settings, run)
    typer.echo(summary)
    for line in _report(summary):
        typer.echo(line)
    raise typer.Exit(0 if summary.faces else 1)


@app.command()
def rearrange(
    dataset: Dataset,
    root: Root,
    out: Annotated[Path, typer.Option(help="Folder of the dataset JSONs.")],
    faces: Faces = None,
    folders: Folders = (),
    level: Level = None,
    paths: Annotated[
        str, typer.Option(help="relative (./…, what DeepfakeBench needs) or absolute (lnclip-df alone).")
    ] = "relative",
    relative_to: Annotated[
        Path, typer.Option(help="Folder that relative paths start from: the DeepfakeBench checkout.")
    ] = Path("."),
    allow_missing: AllowMissing = False,
    lmdb: Annotated[
        Path | None, typer.Option(help="Also write DeepfakeBench's LMDB into this folder (lmdb: true, lmdb_dir).")
    ] = None,
    quiet: Quiet = False,
):
    """Write a dataset's JSON from its faces on disk, in DeepfakeBench's form.

    Example: lnclip-df rearrange Celeb-DF-v2 --root datasets/rgb --out preprocessing/dataset_json

    The split lists and tables of the dataset are read below --root; see the notes in its YAML.
    """
    from lnclip_df.datasets.lmdb import write_lmdb
    from lnclip_df.datasets.rearrange import rearrange

    options = {"faces": faces, "relative_to": relative_to, "paths": paths, "folders": _folders(folders)}
    written = rearrange(dataset, root, out, level=level, allow_missing=allow_missing, **options)
    for path in written:
        typer.echo(path)
    for path in written if lmdb is not None else ():
        typer.echo(write_lmdb(path, lmdb, data_root=relative_to, progress=not quiet))


@app.command()
def audit(
    dataset: Dataset,
    root: Root,
    faces: Faces = None,
    folders: Folders = (),
    level: Level = None,
    frames: Annotated[int, typer.Option(help="Faces that a video should have.")] = 32,
    size: Annotated[int, typer.Option(help="Side that a face's image should have, in pixels.")] = 256,
    quick: Annotated[bool, typer.Option("--quick", help="Decode one face a video instead of all.")] = False,
    allow_missing: AllowMissing = False,
    workers: Workers = None,
    out: Annotated[Path | None, typer.Option(help="Also write the report to this JSON file.")] = None,
    quiet: Quiet = False,
):
    """Say whether a dataset's faces are fit for the leaderboard; exit with 1 where they are not.

    Example: lnclip-df audit Celeb-DF-v2 --root datasets/rgb

    Counts against the published ones, faces a video, unreadable or odd images, equal images across splits, sources and
    pairs on both sides of a split, crops of several recipes. A problem makes figures wrong or incomparable.
    """
    from lnclip_df.datasets.audit import audit_dataset

    place = {"faces": faces, "folders": _folders(folders), "level": level, "allow_missing": allow_missing}
    options = {"frames": frames, "size": size, "quick": quick, "workers": workers, "progress": not quiet}
    report = audit_dataset(dataset, root, **place, **options)
    typer.echo(report)
    if out is not None:
        report.write(out)
    raise typer.Exit(0 if report.fit else 1)


@app.command()
def pairs(
    dataset_json: Annotated[Path, typer.Argument(help="A dataset JSON with a training split, named by its dataset.")],
    root: Root,
    faces: Faces = None,
    folders: Folders = (),
    out: Annotated[Path | None, typer.Option(help="Folder of the two files; the JSON's own by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Unpaired: no source of a fake, the donor's face included, among the reals."),
    ] = False,
    compression: Annotated[str, typer.Option(help="The level taken where the dataset has levels.")] = "c23",
):
    """Write the paired and an unpaired training subset of one size and method mix (the paper's Figure 3).

    Example: lnclip-df pairs preprocessing/dataset_json/FaceForensics++.json --root datasets/rgb

    FaceForensics++-paired.json and FaceForensics++-unpaired.json hold the same fakes: with the reals that they were
    made from, and with as many others.
    """
    from lnclip_df.datasets.pairs import write_pairs
    from lnclip_df.datasets.scan import scan_faces

    items = scan_faces(dataset_json.stem, root, faces=faces, folders=_folders(folders))
    typer.echo(write_pairs(dataset_json, items, out=out, seed=seed, strict=strict, compression=compression))


@app.command()
def datasets(
    root: Annotated[Path | None, typer.Option(help="Folder that holds the datasets' folders.")] = None,
    faces: Faces = None,
):
    """List the datasets that preprocess, rearrange and audit know, and with --root what of them is on disk.

    Example: lnclip-df datasets --root datasets/rgb
    """
    from lnclip_df.datasets.overview import overview

    typer.echo(f"{'data set':18} {'test real':>9} {'test fake':>9} {'videos':>8} {'with faces':>10}  to be had by")
    for row in overview(root, faces):
        numbers = ["–" if value is None else str(value) for value in row[2:6]]
        widths = zip(numbers, (9, 9, 8, 10), strict=True)
        typer.echo(f"{row.name:18} {' '.join(f'{text:>{width}}' for text, width in widths)}  {row.access}")
        if row.fault:
            typer.echo(f"{'':18} {row.fault}")


@app.command()
def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or CSV files of other tools' predictions.")],
    out: Annotated[Path, typer.Option(help="Folder for the tables, the page and the plot.")] = Path("leaderboard"),
    metrics: Annotated[
        list[str],
        typer.Option(help="Beside video AUROC: frame_auroc, ap, eer, tpr1, tpr5 or all; with commas or repeated."),
    ] = (),
    against: Annotated[str, typer.Option(help="The published row to compare the cells with.")] = "LNCLIP-DF",
    resamples: Annotated[int, typer.Option(help="Of the bootstrap; 0 leaves the intervals out.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
):
    """Compare runs by the video-level AUROC of their predictions.

    Example: lnclip-df leaderboard runs/first runs/second other.csv --out runs/leaderboard

    A CSV has the columns dataset, video, label, prob and, where known, frame and method. --out gets leaderboard.md,
    .csv, .tex and .html, details.md (by method, comparisons, records), figures.csv and roc.png.
    """
    from lnclip_df.leaderboard import make_board, write_board
    from lnclip_df.leaderboard.text import terminal

    names = split_names(metrics)
    board = make_board(runs, metrics=names, against=against, resamples=resamples, seed=seed)
    write_board(board, out)
    typer.echo(terminal(board) + f"\nLook at: {out / 'leaderboard.html'}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run, or a CSV of another tool's predictions.")],
    second: Annotated[str, typer.Argument(help="Another, or the name of a published row, such as LNCLIP-DF.")],
):
    """Say in which field two runs first depart, then in which others, and show their figures side by side.

    Example: lnclip-df compare runs/first runs/second

    Example: lnclip-df compare runs/first LNCLIP-DF
    """
    from lnclip_df.leaderboard import compare

    typer.echo(compare(first, second))


@app.command()
def calibrate(
    run: StudiedRun,
    datasets: StudiedSets = (),
    weights: Annotated[
        Path | None, typer.Option(help="Of the detector; best.safetensors of the run by default.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Predictions of the validation set, a folder or CSV, instead of making them.")
    ] = None,
    fpr: Annotated[
        float, typer.Option(help="False positive rate on the validation set that the threshold is for.")
    ] = 0.05,
    bins: Annotated[int, typer.Option(help="Of the ECE and the diagram.")] = 15,
    config: WeightsConfig = None,
    overrides: Overrides = (),
    out: StudyOut = None,
    device: Annotated[str | None, typer.Option(help="As for test.")] = None,
    quiet: Quiet = False,
):
    """Fit a temperature and a threshold on the validation set; show how far probabilities can be taken at their word.

    Example: lnclip-df calibrate runs/first --datasets Celeb-DF-v2 --fpr 0.05

    Predicts the YAML's lnclip.val_dataset once, and writes calibration.json beside the weights: the temperature, the
    threshold, counts, and the hash of the weights. --out gets reliability.png, calibration.md and calibration.csv.
    """
    from lnclip_df.analysis.calibrate import calibrate
    from lnclip_df.weights.restore import config_for

    if validation is None and (config or overrides):
        config = config_for(weights or run / "best.safetensors", config, overrides)
    options = {"weights": weights, "validation": validation, "fpr": fpr, "bins": bins, "config": config, "out": out}
    calibrate(run, datasets=split_names(datasets), device=device, progress=not quiet, **options)
    _show_study(run, out, "calibration", "reliability.png")


@app.command()
def coverage(
    run: StudiedRun,
    found: Annotated[
        Path | None, typer.Option(help="CSV: dataset,video,label,frames_asked,frames_found, failures among them.")
    ] = None,
    manifest: Annotated[
        list[Path], typer.Option(help="Instead: preprocessing's manifests/NAME.csv, with --dataset and --root.")
    ] = (),
    dataset: Annotated[str | None, typer.Option(help="With --manifest: the dataset's name or YAML.")] = None,
    root: Annotated[Path | None, typer.Option(help="With --manifest: the folder that holds the datasets.")] = None,
    level: Level = None,
    folders: Folders = (),
    datasets: StudiedSets = (),
    resamples: StudyResamples = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: StudyOut = None,
):
    """Show what the AUROC is when videos in which no face was found count too.

    Example: lnclip-df coverage runs/first --manifest faces/manifests/Celeb-DF-v2.csv --dataset Celeb-DF-v2 --root rgb

    Example: lnclip-df coverage runs/first --found frames-found.csv

    Failures are excluded, score 0.5 (as videos, and frame by frame), or are missing: in the right order with no video.
    """
    from lnclip_df.analysis.coverage import coverage, write_found
    from lnclip_df.analysis.report import study_folder

    if (found is None) == (not manifest):
        raise LNCLIPError("name either --found FILE.csv, or --manifest FILE.csv with --dataset NAME and --root DIR")
    if manifest:
        if dataset is None or root is None:
            raise LNCLIPError("--manifest needs --dataset NAME and --root DIR")
        found = study_folder(run, out, "coverage") / "frames-found.csv"
        write_found(found, manifest, dataset, root, level=level, folders=_folders(folders))
    coverage(run, found, datasets=split_names(datasets), resamples=resamples, seed=seed, out=out)
    _show_study(run, out, "coverage", "coverage.png")


@app.command()
def subgroups(
    run: StudiedRun,
    attributes: Annotated[Path, typer.Option(help="CSV with the column video and one for each attribute.")],
    by: Annotated[list[str], typer.Option(help="Attributes to group by, with commas or repeated.")],
    datasets: StudiedSets = (),
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json with the threshold; the run's own by default.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Instead: predictions of the validation set, a folder or CSV.")
    ] = None,
    fpr: Annotated[float, typer.Option(help="With --validation: its false positive rate.")] = 0.05,
    threshold: Annotated[float | None, typer.Option(help="Instead: the threshold itself.")] = None,
    least: Annotated[int, typer.Option(min=1, help="Videos of a class that a group in the gap needs.")] = 10,
    resamples: StudyResamples = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: StudyOut = None,
):
    """Compare AUROC, FPR and FNR between groups of videos, and name the largest gap.

    Example: lnclip-df subgroups runs/first --attributes people.csv --by sex,compression

    The threshold is the one that lnclip-df calibrate fixed on the validation set. video is the key that predictions
    have, such as Celeb-DF-v2/CelebDFv2_fake/id0_id1_0000.
    """
    from lnclip_df.analysis.subgroups import subgroups

    options = {"calibrated": calibration, "validation": validation, "fpr": fpr, "threshold": threshold, "least": least}
    options |= {"datasets": split_names(datasets), "resamples": resamples, "seed": seed, "out": out}
    subgroups(run, attributes, split_names(by), **options)
    _show_study(run, out, "subgroups", "subgroups.png")


@app.command()
def aggregate(
    run: StudiedRun,
    datasets: StudiedSets = (),
    resamples: StudyResamples = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    out: StudyOut = None,
):
    """Compare ways to make one score of a video's frames, from saved predictions.

    Example: lnclip-df aggregate runs/first --datasets Celeb-DF-v2

    Mean probability, mean logit, median, highest quarter, trimmed mean; and after lnclip-df test --save-features, how
    far the feature moves on the sphere from frame to frame.
    """
    from lnclip_df.analysis.aggregations import compare_aggregations

    compare_aggregations(run, datasets=split_names(datasets), resamples=resamples, seed=seed, out=out)
    _show_study(run, out, "aggregate", "aggregate.png")


@app.command()
def robustness(
    weights: Annotated[Path, typer.Option(help="As for test.")],
    datasets: Annotated[list[str], typer.Option(help="Test sets, with commas or repeated.")],
    corruptions: Annotated[
        list[str], typer.Option(help="jpeg, blur, scale, noise, light, h264, occlusion; or none. All by default.")
    ] = (),
    attacks: Annotated[list[str], typer.Option(help="fgsm, pgd; or none. Both by default.")] = (),
    frames: Annotated[int | None, typer.Option(help="Of a video; as many as in a test by default.")] = None,
    videos: Annotated[int | None, typer.Option(help="Of a class, evenly spaced; all by default.")] = None,
    config: WeightsConfig = None,
    overrides: Overrides = (),
    out: Annotated[Path | None, typer.Option(help="Folder; studies/robustness beside the weights by default.")] = None,
    resamples: StudyResamples = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the corruptions, PGD's start, and the bootstrap.")] = 0,
    device: Annotated[str | None, typer.Option(help="As for test.")] = None,
    quiet: Quiet = False,
):
    """Test a detector on the same frames, degraded in seven ways at five levels, and under FGSM and PGD.

    Example: lnclip-df robustness --weights runs/first/best.safetensors --datasets Celeb-DF-v2 --frames 8

    A level that is finished is not predicted again: the same command goes on. --out gets robustness.md (AUROC, drops,
    mean corruption degradation), .csv, .png and the predictions of each level.
    """
    from lnclip_df.analysis.attacks import ATTACKS
    from lnclip_df.analysis.corruptions import CORRUPTIONS
    from lnclip_df.analysis.robustness import robustness
    from lnclip_df.weights.restore import config_for

    kinds = {
        "corruptions": split_names(corruptions) or list(CORRUPTIONS),
        "attacks": split_names(attacks) or list(ATTACKS),
    }
    kinds = {option: [] if names == ["none"] else names for option, names in kinds.items()}
    config = config_for(weights, config, overrides)
    out = out or _folder_of(weights) / "studies" / "robustness"
    options = {"frames": frames, "videos": videos, "resamples": resamples, "seed": seed, "device": device}
    typer.echo(
        robustness(config, weights, out, datasets=split_names(datasets), progress=not quiet, **kinds, **options)
        + f"\nLook at: {out / 'robustness.png'}"
    )


@app.command()
def install(checkout: Checkout, dry_run: DryRun = False, force: Force = False):
    """Put the detector, its YAMLs and labels into a DeepfakeBench checkout; a second time changes nothing.

    Example: lnclip-df install ~/DeepfakeBench --dry-run
    """
    from lnclip_df.bench.install import install

    typer.echo(install(checkout, dry_run=dry_run, force=force) or "nothing to do: it is installed")


@app.command()
def uninstall(checkout: Checkout, dry_run: DryRun = False, force: Force = False):
    """Take out of a DeepfakeBench checkout what install put there.

    Example: lnclip-df uninstall ~/DeepfakeBench
    """
    from lnclip_df.bench.install import uninstall

    typer.echo(uninstall(checkout, dry_run=dry_run, force=force) or "nothing to do: it is not installed")


@app.command()
def doctor(checkout: Checkout):
    """Say what an environment and a DeepfakeBench checkout lack; exit with 1 if that stops training or testing.

    Example: lnclip-df doctor ~/DeepfakeBench
    """
    from lnclip_df.bench.doctor import doctor

    findings = doctor(checkout)
    for finding in findings:
        typer.echo(finding)
    raise typer.Exit(any(finding.status == "problem" for finding in findings))


@app.command(context_settings={"ignore_unknown_options": True})
def bench_run(
    checkout: Checkout,
    argv: Annotated[list[str], typer.Argument(metavar="-- SCRIPT [ARGUMENT]...", help="A script and its arguments.")],
):
    """Run a script of a DeepfakeBench checkout unchanged, on a machine without a GPU too; its exit status is ours.

    Example: lnclip-df bench-run ~/bench -- training/train.py --detector_path training/config/detector/lnclip.yaml
    """
    from lnclip_df.bench.run_script import bench_run

    raise typer.Exit(bench_run(checkout, argv))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic videos and the training.")] = 0,
    quiet: Quiet = False,
):
    """Go through everything on small synthetic videos, offline on the CPU: preprocess, train, test, compare.

    Example: lnclip-df demo --out runs/demo

    Its figures, in summary.json, show the machinery at work and nothing about real deepfakes.
    """
    from lnclip_df.demo.run import NOTE, run_demo

    summary = run_demo(out, seed=seed, progress=not quiet)
    typer.echo((out / "leaderboard" / "leaderboard.md").read_text(encoding="utf-8"))
    typer.echo(
        f"held-out video AUROC {100 * summary['video_auroc']:.1f} % (frames {100 * summary['frame_auroc']:.1f} %), "
        f"untrained {100 * summary['untrained_video_auroc']:.1f} %, {summary['seconds']:.0f} s\n\n{NOTE}"
    )


@app.command()
def configs():
    """List the packaged YAMLs that --config takes by name.

    Example: lnclip-df configs
    """
    from lnclip_df.config.loading import detector_yamls

    for name in detector_yamls():
        typer.echo(name)


@app.command()
def export(
    weights: Annotated[str, typer.Argument(help="A file, a folder, or a Hub repository: yermandy/GenD_CLIP_L_14.")],
    format: Annotated[str, typer.Option(help="delta, full, transformers, or onnx.")],
    out: Annotated[Path, typer.Option(help="A .safetensors or .onnx file; for transformers, a new folder.")],
    config: WeightsConfig = None,
    overrides: Overrides = (),
    card: Annotated[
        Path | None, typer.Option(help="File for a model card; the folder of transformers has one, README.md.")
    ] = None,
    metrics: Annotated[
        list[str], typer.Option(help="For the card: metrics/ of a run that tested these weights, or files in it.")
    ] = (),
):
    """Write a detector's weights in another format, with its configuration, metrics and test vectors.

    Example: lnclip-df export runs/first/best.safetensors --format onnx --out detector.onnx

    A delta holds LayerNorms and head alone, and needs the backbone's own weights when it is loaded. ONNX is compared
    with PyTorch before it is kept. A model card says what is recorded of the weights, and no more.
    """
    from lnclip_df.weights.export import export
    from lnclip_df.weights.restore import config_for

    typer.echo(export(weights, out, format, config_for(weights, config, overrides), card=card, metrics=metrics))


def _show_study(run, out, name, plot):
    """Print a study's table, and where its plot lies."""
    from lnclip_df.analysis.report import study_folder

    folder = study_folder(run, out, name)
    typer.echo((folder / f"{name}.md").read_text(encoding="utf-8") + f"\nLook at: {folder / plot}")


study = typer.Typer(
    no_args_is_help=True,
    help="Several trainings that answer one question, over seeds, with one table and plot.\n\n"
    "A finished training is not repeated: the same command goes on where it stopped. With --demo a study runs on the "
    "demo's data in minutes, to see it work; its figures then say nothing about real deepfakes.\n\n"
    "Example: lnclip-df study ablation --demo --out runs/ablation-demo",
)
app.add_typer(study, name="study")
Seeds = Annotated[str, typer.Option(help="Of the trainings, with commas.")]
StudyTests = Annotated[
    list[str], typer.Option(help="What is tested, with commas or repeated; lnclip.benchmarks of the YAML by default.")
]
Demo = Annotated[bool, typer.Option("--demo", help="On the demo's synthetic videos and small backbone, on the CPU.")]
DemoFolder = Annotated[Path, typer.Option(help="With --demo: the demo's folder; its faces are made there once.")]
Accelerator = Annotated[str, typer.Option(help="Lightning's: auto, gpu, cpu, …; each training uses one device.")]


def _run_study(study, seeds, out, demo, demo_folder, quiet, **options):
    from lnclip_df.demo.for_studies import demo_data
    from lnclip_df.studies.common import parse_seeds

    seeds = parse_seeds(seeds)
    data = demo_data(demo_folder, out, progress=not quiet) if demo else None
    study(out, seeds=seeds, demo=data, progress=not quiet, **options)
    typer.echo((out / "summary.md").read_text(encoding="utf-8") + f"\nLook at: {out}")


@study.command()
def ablation(
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/study-ablation"),
    seeds: Seeds = "0,1,2",
    overrides: Overrides = (),
    datasets: StudyTests = (),
    demo: Demo = False,
    demo_data: DemoFolder = Path("runs/demo"),
    accelerator: Accelerator = "auto",
    quiet: Quiet = False,
):
    """Train the five steps from a linear probe to the whole method (the YAMLs of ablation/), and test each.

    Example: lnclip-df study ablation --seeds 0,1,2 --datasets Celeb-DF-v2,DFDC --out runs/ablation

    Example: lnclip-df study ablation --demo --out runs/ablation-demo

    --out gets summary.md, .json and .csv, ablation.png, and the run of each step and seed, which lnclip-df leaderboard
    and compare take.
    """
    from lnclip_df.studies.ablation import study_ablation

    options = {"overrides": overrides, "datasets": datasets, "accelerator": accelerator}
    _run_study(study_ablation, seeds, out, demo, demo_data, quiet, **options)


@study.command()
def pairing(
    config: Config = "lnclip.yaml",
    dataset: Annotated[
        str | None, typer.Option(help="Whose subsets are trained on; the YAML's train_dataset by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/study-pairing"),
    seeds: Seeds = "0,1,2",
    overrides: Overrides = (),
    datasets: StudyTests = (),
    demo: Demo = False,
    demo_data: DemoFolder = Path("runs/demo"),
    accelerator: Accelerator = "auto",
    quiet: Quiet = False,
):
    """Train on paired and on unpaired data (the paper's Figure 3): validation over steps, and the test at the end.

    Example: lnclip-df pairs preprocessing/dataset_json/FaceForensics++.json --root datasets/rgb
    && lnclip-df study pairing --out runs/pairing

    Example: lnclip-df study pairing --demo --out runs/pairing-demo

    --out gets summary.md, .json and .csv, curves.csv, pairing.png, and the run of each kind and seed.
    """
    from lnclip_df.studies.pairing import study_pairing

    options = {"overrides": overrides, "datasets": datasets, "accelerator": accelerator}
    _run_study(study_pairing, seeds, out, demo, demo_data, quiet, config=config, dataset=dataset, **options)


@study.command()
def training_set(
    configs: Annotated[
        list[str], typer.Option(help="YAMLs that differ in train_dataset; ours of training/ by default.")
    ] = (),
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/study-training-set"),
    seeds: Seeds = "0,1,2",
    overrides: Overrides = (),
    datasets: StudyTests = (),
    demo: Demo = False,
    demo_data: DemoFolder = Path("runs/demo"),
    accelerator: Accelerator = "auto",
    quiet: Quiet = False,
):
    """Train on one data set after another, each afresh, and test each on all (the paper's Figure 4).

    Example: lnclip-df study training-set --configs training/ffpp.yaml,training/ffiw.yaml --out runs/training-set

    Example: lnclip-df study training-set --demo --out runs/training-set-demo

    --out gets summary.md, .json and .csv, training-set.png (a heat map), and the run of each training set and seed.
    """
    from lnclip_df.studies.training_set import YAMLS, study_training_set

    options = {"overrides": overrides, "datasets": datasets, "accelerator": accelerator}
    options["configs"] = split_names(configs) or YAMLS
    _run_study(study_training_set, seeds, out, demo, demo_data, quiet, **options)


@study.command()
def continual(
    configs: Annotated[
        list[str], typer.Option(help="YAMLs in the order of the steps; ours of training/ by default.")
    ] = (),
    shares: Annotated[str, typer.Option(help="Of the old videos that are replayed, with commas.")] = "0,0.1",
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/study-continual"),
    seeds: Seeds = "0,1,2",
    overrides: Overrides = (),
    datasets: Annotated[list[str], typer.Option(help="Tested beside the test sets of the steps.")] = (),
    demo: Demo = False,
    demo_data: DemoFolder = Path("runs/demo"),
    accelerator: Accelerator = "auto",
    quiet: Quiet = False,
):
    """Train on one data set, then go on with the next, with and without replay of the old: what is forgotten?

    Example: lnclip-df study continual --configs training/ffpp.yaml,training/dsv2.yaml --shares 0,0.1 --out runs/new

    Example: lnclip-df study continual --demo --out runs/continual-demo

    --out gets summary.md, .json and .csv with the AUROC on every step's test set after each step, continual.png, and
    the run of each step and seed.
    """
    from lnclip_df.studies.common import parse_shares
    from lnclip_df.studies.continual import study_continual
    from lnclip_df.studies.training_set import YAMLS

    options = {"overrides": overrides, "datasets": datasets, "accelerator": accelerator}
    options |= {"configs": split_names(configs) or YAMLS, "shares": parse_shares(shares)}
    _run_study(study_continual, seeds, out, demo, demo_data, quiet, **options)


def _required(value, option):
    if value is None:
        raise LNCLIPError(f"{option} is missing; lnclip-df preprocess --help shows examples")


def _folders(values):
    """``NAME=PATH`` options as a mapping."""
    for value in values:
        if "=" not in value:
            raise LNCLIPError(f"--map {value!r}: accepted is NAME=PATH")
    return dict(value.split("=", 1) for value in values)


def _report(summary):
    """What to look at after preprocessing: the worst videos, the table of all, the sheet of crops."""
    worst = [record for record in summary.worst if len(record.saved) < record.asked]
    if worst:
        yield "fewest faces for the frames looked at:"
    for record in worst:
        yield printable(f"  {record.key}: {len(record.saved)} of {record.asked}, mean score {record.score:.2f}")
    yield f"recipe {summary.recipe['fingerprint']}; every video: {summary.manifest}"
    if summary.sheet:
        yield f"look at: {summary.sheet}"


def _folder_of(weights):
    """Where what is made with weights goes by default; a Hub repository is no folder."""
    if not weights.exists():
        raise LNCLIPError(f"{weights} is fetched from the Hub: name a folder for the results with --out")
    return weights if weights.is_dir() else weights.parent


def _devices(text):
    return int(text) if text.lstrip("-").isdigit() else text


def _table(results):
    """A line a data set: counts, and the video metrics in percent."""
    yield f"{'data set':24} {'videos':>7} {'frames':>8} {'AUROC':>7} {'AP':>7} {'EER':>7} {'accuracy':>9}  crops"
    for name, result in results.items():
        auroc, ap, eer, accuracy = (
            "–" if result["video"][key] is None else f"{100 * result['video'][key]:.1f}"
            for key in ("auroc", "ap", "eer", "accuracy")
        )
        skipped = f"  ({len(result['skipped_frames'])} frames skipped)" if result["skipped_frames"] else ""
        crops = ", ".join(result["crops"])
        counts = f"{result['videos']:7} {result['frames']:8}"
        yield f"{name:24} {counts} {auroc:>7} {ap:>7} {eer:>7} {accuracy:>9}  {crops}{skipped}"
