"""The commands that score files of one's own: predict, bank, app."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say


def predict(
    paths: Annotated[list[str], typer.Argument(help="Videos, images, folders, or patterns ('clips/**/*.mp4').")],
    weights: opt.WeightsOrDefault = None,
    format: Annotated[
        Literal["table", "csv", "jsonl"],
        opt.results("Output format. jsonl has one JSON object per line, with every frame."),
    ] = "table",
    out: Annotated[Path | None, opt.results("File for the scores. An interrupted run continues in it.")] = None,
    annotate: Annotated[Path | None, opt.results("Folder for copies with boxes and scores, and timelines.")] = None,
    explain: Annotated[Path | None, opt.results("Folder for heat maps of the most suspicious faces.")] = None,
    bank: Annotated[Path | None, opt.results("With --explain: feature bank, to name the nearest examples.")] = None,
    all_faces: Annotated[bool, opt.faces("Score every person; the highest score counts.", "--all-faces")] = False,
    aligned: Annotated[bool, opt.faces("The images are aligned face crops already.", "--aligned")] = False,
    frames: opt.FramesOrRecipes = None,
    sequences: opt.Sequences = False,
    recipe: Annotated[
        str | None,
        opt.faces(
            "Named recipe of crops: paper, gend or deepfakebench. By default a released model's own, else paper."
        ),
    ] = None,
    face: Annotated[
        Literal["largest", "track"],
        opt.faces("Face to score where there are several: the largest, or that of the person seen most."),
    ] = "largest",
    threshold: opt.Threshold = None,
    max_seconds: Annotated[float | None, opt.data("Refuse videos longer than this many seconds.")] = None,
    batch_size: Annotated[int, opt.running("Number of faces per batch of the detector, across files.", min=1)] = 32,
    precision: Annotated[
        Literal["fp32", "tf32", "bf16", "fp16", "auto"], opt.running("Precision. auto takes the faster one.")
    ] = "auto",
    detector: opt.FaceDetector = None,
    predictor: opt.Predictor = None,
    config: opt.ConfigOfWeights = None,
    overrides: opt.Set = opt.NONE,
    device: opt.Device = None,
    workers: Annotated[
        int | None,
        opt.running("Number of processes that find faces. By default 1 on a CPU, the number of cores on a GPU.", min=1),
    ] = None,
    shard: opt.Shard = None,
    quiet: opt.Quiet = False,
):
    """Score videos and images: how likely is each a deepfake?

    Example: lnclip-df predict clip.mp4 --weights runs/first/best.safetensors

    Example: lnclip-df predict 'clips/*.mp4' --format jsonl --out scores.jsonl --annotate annotated

    The score of a file is the mean probability of fake over its frames. A file that has no face or cannot be read has
    no score, and the output says why; the exit status is then 1. A score is evidence, not proof.
    """
    from lnclip_df.scoring import load
    from lnclip_df.scoring.options import score_options
    from lnclip_df.scoring.score_files import score_files
    from lnclip_df.scoring.scorer import default_weights
    from lnclip_df.weights.zoo import find_model

    load_scorer = partial(
        load, weights, config=config, overrides=overrides, device=device, precision=precision, threshold=threshold
    )
    given = {"frames": frames, "detector": detector, "predictor": predictor}
    options = score_options(
        find_model(str(default_weights(weights))), recipe, face="largest" if aligned else face, all_faces=all_faces,
        aligned=aligned, max_seconds=max_seconds, batch_size=batch_size,
        **{key: value for key, value in given.items() if value is not None},
    )  # fmt: skip
    rows, text = score_files(
        load_scorer, paths, options, out=out, format=format, annotate_to=annotate, explain_to=explain, bank=bank,
        sequences=sequences, progress=not quiet, shard=shard, workers=workers,
    )  # fmt: skip
    of = f" of shard {shard}" if shard else ""
    say(text if out is None else f"{out}: {len(rows)} files{of}", newline=out is not None)
    if mixed := sum(row["people"] > len(row["persons"]) for row in rows):
        typer.echo(
            f"{mixed} of {len(rows)} files mix the faces of several people: --face track follows the one seen most, "
            "--all-faces scores everybody",
            err=True,
        )
    raise typer.Exit(0 if all(row["score"] is not None for row in rows) else 1)


def bank(
    weights: opt.Weights,
    config: opt.ConfigOfWeights = None,
    overrides: opt.Set = opt.NONE,
    datasets: Annotated[list[str], opt.datasets("Data sets to keep. By default train_dataset of the YAML.")] = opt.NONE,
    split: Annotated[Literal["train", "val", "test"], opt.data("Split of the data sets.")] = "train",
    frames: opt.Frames = 8,
    out: Annotated[Path, opt.results("File of the bank, .safetensors.")] = Path("bank.safetensors"),
    device: opt.Device = None,
    quiet: opt.Quiet = False,
):
    """Save the features of training frames, so that predict can name the training examples nearest to a face.

    Example: lnclip-df bank --weights runs/first/best.safetensors --out runs/first/bank.safetensors

    A bank belongs to one file of weights and is refused with others. It contains features and paths, no pictures.
    """
    from lnclip_df.scoring import load
    from lnclip_df.scoring.feature_bank import make_bank

    scorer = load(weights, config=config, overrides=overrides, device=device)
    made = make_bank(scorer, out, datasets=datasets, split=split, frames=frames, progress=not quiet)
    say(f"{out}: {len(made.frames)} frames of {len(set(made.video.tolist()))} videos")


def app(
    weights: opt.WeightsOrDefault = None,
    host: Annotated[str, opt.running("Address to serve at. 0.0.0.0 lets everybody in the network in.")] = "127.0.0.1",
    port: Annotated[int, opt.running("Port to serve at. 0 takes a free one.", min=0, max=65535)] = 7860,
    max_mb: Annotated[float, opt.data("Largest size of one upload, in megabytes.")] = 200,
    max_seconds: Annotated[float, opt.data("Longest duration of a video, in seconds.")] = 300,
    threshold: opt.Threshold = None,
    config: opt.ConfigOfWeights = None,
    overrides: opt.Set = opt.NONE,
    device: opt.Device = None,
):
    """Serve a page in the browser that scores uploaded videos and images.

    Example: lnclip-df app --weights runs/first/best.safetensors

    The page asks nothing of the network. Uploads are deleted after scoring.
    """
    from lnclip_df.app import listen, serve
    from lnclip_df.scoring import load

    with listen(host, port) as where:
        scorer = load(weights, config=config, overrides=overrides, device=device, threshold=threshold)
        serve(scorer, where, max_mb=max_mb, max_seconds=max_seconds)
