"""Commands that turn videos into data sets: dataset new, preprocess, rearrange, lmdb, pack, audit, pairs, datasets."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import check_writable
from lnclip_df.core.tables import aligned_lines, show


def new(
    name: Annotated[str, typer.Argument(help="Name of the data set in all commands.")],
    real: Annotated[
        list[Path], opt.data("Folder of real videos, or of their face crops. May be repeated.", "--real")
    ] = [],  # noqa: B006
    fake: Annotated[
        list[str],
        opt.data("Folder of fake videos, or of their face crops. May be repeated.", "--fake", metavar="[METHOD=]DIR"),
    ] = [],  # noqa: B006
    csv: Annotated[
        list[Path],
        opt.data(
            "Instead: a CSV path,label[,split,method,pair,identity]. Its paths start from the CSV's folder.", "--csv"
        ),
    ] = [],  # noqa: B006
    split: Annotated[
        str | None, opt.data("Shares of train, val and test in %. By default 70,15,15.", "--split", metavar="SHARES")
    ] = None,
    by: Annotated[
        str | None,
        opt.data(
            "Pattern of what a path says of a video's persons or clips, such as 'id[0-9]+'. Videos that share one come "
            "into one split.",
            "--by",
            metavar="REGEX",
        ),
    ] = None,
    seed: opt.Seed = 0,
    faces: Annotated[
        Path | None, opt.results("Folder for face crops. By default rgb beside the YAML.", "--faces")
    ] = None,
):
    """Make a data set of your own videos or face crops: all commands then take its name.

    Example: lnclip-df dataset new mine --real videos/real --fake videos/fake

    Example: lnclip-df dataset new mine --real real --fake faceswap=swaps --fake lipsync=lips --by 'id[0-9]+'

    Example: lnclip-df dataset new mine --csv videos.csv

    Writes datasets/NAME.yaml, or NAME.yaml into the folder $LNCLIP_DATASETS, to keep and edit. A fake whose name begins
    with that of a real video (000_swap.mp4, 000.mp4) comes into its split. The next step is lnclip-df preprocess
    --dataset NAME; with face crops, lnclip-df audit NAME.
    """
    from lnclip_df.datasets.new import new_dataset

    fakes = dict(_method_and_folder(value) for value in fake)
    if len(fakes) < len(fake):
        raise LNCLIPError("--fake: give each folder a method of its own, --fake METHOD=DIR")
    if len(csv) > 1:
        raise LNCLIPError("--csv: give one CSV; put the rows of all into it")
    made = new_dataset(name, real, fakes, table=csv[0] if csv else None, shares=split, by=by, seed=seed, faces=faces)
    crops = any(folder.crops for folder in made.dataset.folders)
    say(f"{made}\nnext: lnclip-df {'audit' if crops else 'preprocess --dataset'} {name}")


def _method_and_folder(value: str) -> tuple[str, str]:
    method, separator, folder = value.partition("=")
    if separator and not folder:
        raise LNCLIPError(f"--fake {value}: expected METHOD=DIR, or a folder alone")
    return (method, folder) if separator and not Path(value).is_dir() else ("", value)


def preprocess(
    source: Annotated[
        str | None, typer.Argument(help="A video, an image, or a folder of them; or its URL (s3://, https://).")
    ] = None,
    dataset: Annotated[str | None, opt.dataset("Data set, instead of a source (see: lnclip-df datasets).")] = None,
    root: opt.RootOrNone = None,
    out: Annotated[
        Path | None,
        opt.results("Folder for the crops. With --dataset, by default the one that its YAML names, or by the videos."),
    ] = None,
    folder: opt.Map = opt.NONE,
    level: opt.Level = None,
    split: Annotated[list[str], opt.names("With --dataset: splits to process, train, val or test.")] = opt.NONE,
    allow_missing: opt.AllowMissing = False,
    recipe: Annotated[
        str,
        opt.faces(
            "Named recipe of crops: paper, gend or deepfakebench. It gives the default of the options below and of "
            "--frames, --sampling and --stride. gend needs --detector det_10g.onnx, deepfakebench --predictor."
        ),
    ] = "paper",
    frames: opt.FramesOrRecipes = None,
    sampling: Annotated[
        Literal["fixed_num_frames", "fixed_stride", "at_least", "from_middle"] | None,
        opt.data(
            "How frames are chosen: fixed_num_frames (evenly spaced), fixed_stride (every --stride frames), at_least "
            "(evenly spaced, then more until enough faces are found), from_middle (the same from the middle frame on). "
            "By default the recipe's.",
            metavar="MODE",
        ),
    ] = None,
    stride: Annotated[int | None, opt.data("With fixed_stride: distance between two frames. By default 10.")] = None,
    sequences: opt.Sequences = False,
    detector: opt.FaceDetector = None,
    score: Annotated[
        float | None,
        opt.faces("Smallest score of a face, 0 to 1. By default the recipe's, else 0.9 (retinaface) and 0.5 (.onnx)."),
    ] = None,
    predictor: opt.Predictor = None,
    second_detection: Annotated[bool | None, opt.dlib("Drop crops in which a second detection finds no face.")] = None,
    face: Annotated[
        Literal["largest", "track", "mask", "mask_only"] | None,
        opt.faces(
            "Face to cut where there are several: largest, track (the person seen most), mask (the one under the "
            "manipulation mask), mask_only (the same without the frames whose mask is empty). By default the recipe's, "
            "else the data set's choice, else largest.",
            metavar="FACE",
        ),
    ] = None,
    alignment: Annotated[
        Literal["deepfakebench", "gend"] | None, opt.faces("Template of the five points. By default the recipe's.")
    ] = None,
    size: Annotated[
        str | None, opt.faces("Side of a face crop in pixels, or native: the face's own. By default the recipe's.")
    ] = None,
    detect_on: Annotated[
        Literal["cpu", "cuda"] | None, opt.running("Device of the face detector. By default cpu.", metavar="DEVICE")
    ] = None,
    decode_on: Annotated[
        str | None, opt.running("Device that decodes videos: cpu, or cuda for an NVIDIA GPU. By default cpu.")
    ] = None,
    scale: Annotated[float | None, opt.faces("Enlargement of the crop around the face. By default 1.3.")] = None,
    workers: opt.Workers = None,
    scheduler: Annotated[str | None, opt.running("Dask scheduler to use instead: tcp://host:8786.")] = None,
    shard: opt.Shard = None,
    format: Annotated[
        Literal["png", "tar"],
        opt.results("How crops are stored: png, a file for each; or tar, one file for each video with its landmarks."),
    ] = "png",
    quiet: opt.Quiet = False,
):
    """Cut aligned faces out of videos. Finished videos are skipped.

    Example: lnclip-df preprocess videos/ --out datasets/rgb/mine

    Example: lnclip-df preprocess --dataset Celeb-DF-v2 --root datasets/rgb

    Example: lnclip-df preprocess s3://bucket/videos --format tar --out datasets/rgb/mine

    Example: lnclip-df preprocess videos/ --recipe gend --detector det_10g.onnx --out datasets/rgb/mine

    lnclip-df dataset new makes a data set of videos of your own, or of crops that are there already.

    Face crops go to frames/, their landmarks to landmarks/, masks to masks/. records/ says which videos are finished;
    manifests/ has a table of all videos, the settings and versions, and a sheet of random crops to check by eye. The
    same command continues an interrupted run. Crops of different settings are never mixed.
    """
    from lnclip_df.preprocess import RunOptions, crop_settings, preprocess, preprocess_dataset

    given = {
        "sampling": sampling, "frames": frames, "stride": stride, "detector": detector, "predictor": predictor,
        "second_detection": second_detection, "face": face, "scale": scale, "score": score, "alignment": alignment,
        "size": size and _side(size), "detect_on": detect_on, "decode_on": decode_on,
    }  # fmt: skip
    settings = crop_settings(recipe, **{key: value for key, value in given.items() if value is not None})
    run = RunOptions(workers, scheduler, shard, progress=not quiet, format=format)
    if (source is None) == (dataset is None):
        raise LNCLIPError("name either a video or folder, or --dataset NAME")
    if dataset is not None:
        summary = preprocess_dataset(
            dataset, root, out, settings, run, splits=split, level=level,
            folders=opt.folders(folder), allow_missing=allow_missing,
        )  # fmt: skip
    else:
        if out is None:
            raise LNCLIPError("--out is missing; lnclip-df preprocess --help shows examples")
        summary = preprocess(source, out, settings, run, sequences=sequences)
    say(summary.report())
    if summary.mixed:
        typer.echo("--face track cuts out the person seen most, instead of the largest face of each frame", err=True)
    raise typer.Exit(0 if summary.faces else 1)


def rearrange(
    dataset: opt.Dataset,
    out: Annotated[Path, opt.results("Folder of the dataset JSONs.")],
    root: opt.RootOrNone = None,
    faces: opt.FacesRoot = None,
    folder: opt.Map = opt.NONE,
    level: opt.Level = None,
    paths: Annotated[
        Literal["relative", "absolute"],
        opt.results("Paths in the JSON: relative (./…, which DeepfakeBench needs), or absolute (for lnclip-df alone)."),
    ] = "relative",
    relative_to: Annotated[Path, opt.results("Folder that relative paths start from: the checkout's root.")] = Path(
        "."
    ),
    lists: Annotated[
        list[Path],
        opt.data(
            "Text file of frames' paths, or a folder of such files as the paper's authors release them "
            "(config/datasets/CDFv2). Paths start from --root. May be repeated."
        ),
    ] = [],  # noqa: B006
    draw: Annotated[
        int | None,
        opt.data(
            "Number of frames of each training video to list, drawn at random (as lnclip.train_frames: random does); "
            "all by default.",
            min=1,
        ),
    ] = None,
    seed: Annotated[int, opt.data("Seed of --draw: manualSeed of the training.", min=0)] = 0,
    allow_missing: opt.AllowMissing = False,
    lmdb: Annotated[Path | None, opt.results("Folder for DeepfakeBench's LMDB, to write it too.")] = None,
    quiet: opt.Quiet = False,
):
    """Write a data set's JSON in DeepfakeBench's form, from its face crops on disk.

    Example: lnclip-df rearrange Celeb-DF-v2 --root datasets/rgb --out preprocessing/dataset_json

    Example: lnclip-df rearrange Celeb-DF-v2 --root GenD --lists GenD/config/datasets/CDFv2 --out dataset_json

    The split lists and tables of the data set are read below --root. The notes in its YAML say which.
    """
    from lnclip_df.datasets.lmdb import write_lmdb
    from lnclip_df.datasets.rearrange import rearrange

    written = rearrange(
        dataset, root, out, faces=faces, relative_to=relative_to, paths=paths, lists=lists,
        folders=opt.folders(folder), level=level, draw=draw, seed=seed, allow_missing=allow_missing,
    )  # fmt: skip
    for path in written:
        say(path)
    for path in written if lmdb is not None else ():
        say(write_lmdb(path, lmdb, data_root=relative_to, progress=not quiet))


DataRoot = Annotated[Path, opt.data("Folder that paths beginning with . start from.")]
RgbDir = Annotated[Path, opt.data("Folder in --data-root that bare paths start from.")]


def lmdb(
    dataset_json: Annotated[
        list[Path], typer.Argument(help="Dataset JSONs. The FaceForensics++ family shares a database.")
    ],
    lmdb_dir: Annotated[Path, opt.results("Folder of the databases.")] = Path("./datasets/lmdb"),
    data_root: DataRoot = Path("."),
    rgb_dir: RgbDir = Path("./datasets/rgb"),
    quiet: opt.Quiet = False,
):
    """Write the face crops of dataset JSONs into the LMDB that DeepfakeBench reads with lmdb: true.

    Example: lnclip-df lmdb preprocessing/dataset_json/FF-DF.json preprocessing/dataset_json/FF-F2F.json

    A further run adds what is new or changed, and finishes a run that was interrupted.
    """
    from lnclip_df.datasets.lmdb import write_lmdb

    for path in dataset_json:
        say(write_lmdb(path, lmdb_dir, data_root=data_root, rgb_dir=rgb_dir, progress=not quiet))


def pack(
    dataset_json: Annotated[list[Path], typer.Argument(help="Dataset JSONs. Each gets a pack of its own.")],
    pack_dir: Annotated[
        Path, opt.results("Folder of the packs in --data-root. By default the one of lnclip.pack_dir in the YAMLs.")
    ] = Path("./datasets/pack"),
    data_root: DataRoot = Path("."),
    rgb_dir: RgbDir = Path("./datasets/rgb"),
    quiet: opt.Quiet = False,
):
    """Write the face crops of dataset JSONs into memory-mapped files, which train, test and studies read faster.

    Example: lnclip-df pack preprocessing/dataset_json/FaceForensics++.json

    Write the JSON with lnclip-df rearrange first. DATASET.pack has the decoded pixels of all its crops, which must be
    of one size: 0.2 MB per crop of 256 pixels. Where lnclip.pack_dir of a detector YAML (by default datasets/pack below
    lnclip.data_root) has the pack of a data set, its frames are read there instead of from PNG files, with the same
    predictions. Run pack again after the JSON or a crop has changed: until then commands refuse the pack. The same
    command continues an interrupted run. audit, rearrange, pairs, lmdb and DeepfakeBench need the PNG files.
    """
    from lnclip_df.datasets.pack import write_pack

    for path in dataset_json:
        say(write_pack(path, pack_dir, data_root=data_root, rgb_dir=rgb_dir, progress=not quiet))


def audit(
    dataset: opt.Dataset,
    root: opt.RootOrNone = None,
    faces: opt.FacesRoot = None,
    folder: opt.Map = opt.NONE,
    level: opt.Level = None,
    frames: opt.Frames = 32,
    size: Annotated[str, opt.faces("Side of a face crop in pixels, or native: any square.")] = "256",
    quick: Annotated[bool, opt.running("Decode one face crop per video instead of all.", "--quick")] = False,
    allow_missing: opt.AllowMissing = False,
    workers: opt.Workers = None,
    out: Annotated[Path | None, opt.results("Also write the report to this JSON file.")] = None,
    quiet: opt.Quiet = False,
):
    """Check whether a data set's face crops are fit for the leaderboard; exit with 1 if they are not.

    Example: lnclip-df audit Celeb-DF-v2 --root datasets/rgb

    Checks counts against the published ones, faces per video, unreadable or unusual images, equal images across splits,
    sources and pairs on both sides of a split, and faces that are cut in several ways. A problem makes figures wrong or
    incomparable. It reads the crops' PNG files or tars: a pack does not replace them.
    """
    from lnclip_df.datasets.audit import AuditOptions, audit_dataset

    if out is not None:
        check_writable(out)
    options = AuditOptions(frames, _side(size), quick, workers, progress=not quiet)
    report = audit_dataset(
        dataset, root, options, faces=faces, folders=opt.folders(folder), level=level, allow_missing=allow_missing
    )
    say(report)
    if out is not None:
        report.write(out)
    raise typer.Exit(0 if report.fit else 1)


def pairs(
    dataset_json: Annotated[Path, typer.Argument(help="A dataset JSON with a training split, named by its data set.")],
    root: opt.RootOrNone = None,
    faces: opt.FacesRoot = None,
    folder: opt.Map = opt.NONE,
    out: Annotated[Path | None, opt.results("Folder for the two files. By default the folder of the JSON.")] = None,
    seed: opt.Seed = 0,
    strict: Annotated[
        bool,
        opt.data("Unpaired subset: exclude every source of a fake from the reals, the face donors too.", "--strict"),
    ] = False,
    compression: Annotated[str, opt.data("Compression level to use where the data set has levels.")] = "c23",
):
    """Write a paired and an unpaired training subset of the same size and mix of methods (the paper's Figure 3).

    Example: lnclip-df pairs preprocessing/dataset_json/FaceForensics++.json --root datasets/rgb

    FaceForensics++-paired.json and FaceForensics++-unpaired.json contain the same fakes: the first with the real videos
    that they were made from, the second with as many others.
    """
    from lnclip_df.datasets.pairs import write_pairs
    from lnclip_df.datasets.scan import scan_faces

    items = scan_faces(dataset_json.stem, root, faces=faces, folders=opt.folders(folder))
    say(write_pairs(dataset_json, items, out=out, seed=seed, strict=strict, compression=compression))


def datasets(root: opt.RootOrNone = None, faces: opt.FacesRoot = None):
    """List the data sets that the commands know, your own first; with --root also what is on disk.

    Example: lnclip-df datasets --root datasets/rgb

    Faces are counted by their PNG files and tars, not in packs.
    """
    from lnclip_df.datasets.overview import overview

    rows = [["data set", "test real", "test fake", "videos", "with faces", "access"]]
    for row in overview(root, faces):
        rows.append([row.name, *map(show, row[2:6]), row.access])
        if row.fault:
            rows.append(["", "", "", "", "", row.fault])
    say("\n".join(aligned_lines(rows)))


def _side(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
