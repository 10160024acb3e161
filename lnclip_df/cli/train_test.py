"""The commands around one detector: train, test, configs, export."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lnclip_df.cli import options as opt
from lnclip_df.cli.output import say
from lnclip_df.core.errors import LNCLIPError

if TYPE_CHECKING:
    from lnclip_df.evaluation.predict import LoadedDetector


def train(
    config: opt.ConfigFile = "lnclip.yaml",
    overrides: opt.Set = opt.NONE,
    datasets: Annotated[
        list[str], opt.datasets("Data sets to train, validate and test on, instead of those that the YAML names.")
    ] = opt.NONE,
    out: opt.RunOut = None,
    start: Annotated[
        str | None,
        opt.detector("Weights to start from, of any format that test reads.", "--from", metavar="CHECKPOINT"),
    ] = None,
    resume: Annotated[bool, opt.running("Continue after the last finished epoch in --out.", "--resume")] = False,
    accelerator: opt.Accelerator = "auto",
    devices: opt.Devices = "auto",
    num_nodes: Annotated[int, opt.running("Number of machines.", min=1)] = 1,
    strategy: opt.Strategy = "auto",
    quiet: opt.Quiet = False,
):
    """Train a detector, validate it after every epoch, and keep the best.

    Example: lnclip-df train --config lnclip.yaml --set train_batchSize=64 --out runs/first

    Example: lnclip-df train --datasets mine --out runs/mine

    Example: lnclip-df train --config training/ffiw.yaml --from runs/first/best.safetensors --out runs/second
    --set 'lnclip.replay={datasets: [FaceForensics++], share: 0.1}'

    The folder of the run gets best.safetensors (best on the validation set), config.yaml, history.json, TensorBoard's
    events in tensorboard/, and checkpoints/last.ckpt, from which the same command with --resume continues. --from (in
    the YAML: lnclip.start_from) trains existing weights further on new data; lnclip.replay mixes in a share of the old.
    """
    from lnclip_df.config.loading import load_config
    from lnclip_df.training.train import train

    keys = ("train_dataset", "lnclip.val_dataset", "lnclip.benchmarks") if datasets else ()
    loaded = load_config(config, [*(f"{key}={json.dumps(datasets)}" for key in keys), *overrides])
    if start is not None:
        loaded = loaded.replace({"lnclip.start_from": start})
    out = out or Path("runs") / Path(config).stem
    train(
        loaded, out, resume=resume, progress=not quiet, accelerator=accelerator, devices=devices, num_nodes=num_nodes,
        strategy=strategy,
    )  # fmt: skip


def test(
    weights: opt.WeightsOfTest = None,
    external: Annotated[
        str | None,
        opt.detector(
            "Python file of another detector: FILE.py, or FILE.py:NAME, where NAME is a function or class. See the "
            "documentation, evaluate. It may take --weights.",
            "--detector",
            metavar="FILE.py",
        ),
    ] = None,
    config: opt.ConfigOfWeights = None,
    overrides: opt.Set = opt.NONE,
    datasets: opt.TestSets = opt.NONE,
    out: Annotated[Path | None, opt.results("Folder of the run. By default the folder of the weights.")] = None,
    device: opt.Device = None,
    save_features: Annotated[
        bool, opt.results("Save each frame's feature too, for aggregate.", "--save-features")
    ] = False,
    shard: opt.Shard = None,
    devices: opt.Devices = "1",
    quiet: opt.Quiet = False,
):
    """Test a detector on the test split of one or more data sets.

    Example: lnclip-df test --weights runs/first/best.safetensors --datasets Celeb-DF-v2,DFDC

    Example: lnclip-df test --detector xception.py --datasets Celeb-DF-v2,DFDC --out runs/xception

    Example: lnclip-df test --weights runs/first/best.safetensors --shard 1/8

    Each data set gives predictions/NAME.parquet, with one row per frame, and metrics/NAME.json. Data sets that were
    tested before with the same weights, configuration and frames are not tested again. An interrupted test continues.
    Shards, on one machine or many, need the same --out; the last one to finish writes the results.
    """
    from lnclip_df.config.loading import load_config
    from lnclip_df.core.devices import device_names
    from lnclip_df.evaluation.external import load_external
    from lnclip_df.evaluation.test import report, test
    from lnclip_df.weights import Checkpoint

    detector: Checkpoint | LoadedDetector
    if external is not None:
        loaded = load_config(config or "lnclip.yaml", overrides)
        detector = load_external(external, loaded, weights, device_names(device, devices)[0])
        out = out or Path("runs") / detector.weights.path.stem
    elif weights is None:
        raise LNCLIPError("name the detector: --weights, or --detector for another project's")
    else:
        detector = Checkpoint.open(weights)
        loaded = detector.config_for(config, overrides)
        out = out or folder_of(weights)
    results = test(
        loaded, detector, out, datasets=datasets, device=device, progress=not quiet, save_features=save_features,
        shard=shard, devices=devices,
    )  # fmt: skip
    if results:
        say(report(results))


def configs():
    """List the packaged YAMLs that --config takes by name.

    Example: lnclip-df configs
    """
    from lnclip_df.config.loading import detector_yamls

    for name in detector_yamls():
        say(name)


def models(
    name: Annotated[str | None, typer.Argument(help="A released model, to show all that is known of it.")] = None,
    format: Annotated[Literal["table", "md", "csv", "json"], opt.results("Output format.")] = "table",
):
    """List the released models that --weights takes by name, or show one of them.

    Example: lnclip-df models

    Example: lnclip-df models gend-clip --format json

    They are downloaded once, at a known revision, and then taken from the cache. A file with another hash is refused.
    """
    from lnclip_df.weights.zoo import report

    say(report(name, format), newline=format == "table")


def export(
    weights: Annotated[str, typer.Argument(help=opt.WEIGHTS)],
    format: Annotated[Literal["delta", "full", "transformers", "onnx"], opt.results("Format to write.")],
    out: Annotated[Path, opt.results("File to write, .safetensors or .onnx. For transformers: a new folder.")],
    config: opt.ConfigOfWeights = None,
    overrides: opt.Set = opt.NONE,
    card: Annotated[Path | None, opt.results("File for a model card. transformers always has README.md.")] = None,
    metrics: Annotated[
        list[str],
        opt.results("For the card: metrics/ of a run that tested these weights, or files in it. May be repeated."),
    ] = opt.NONE,
):
    """Write a detector's weights in another format, with its configuration, metrics and test vectors.

    Example: lnclip-df export runs/first/best.safetensors --format onnx --out detector.onnx

    A delta contains only the LayerNorms and the head; loading it needs the weights of the backbone. An ONNX file is
    compared with PyTorch before it is kept. A model card says what is recorded about the weights, and no more.
    """
    from lnclip_df.weights import Checkpoint
    from lnclip_df.weights.export import export

    checkpoint = Checkpoint.open(weights)
    say(export(checkpoint, out, format, checkpoint.config_for(config, overrides), card=card, metrics=metrics))


def folder_of(weights: str) -> Path:
    """The folder of weights, or ``runs/NAME`` of a released model, where their results go by default.

    Raises:
        LNCLIPError: the weights come from the Hub, which has no folder for results.
    """
    from lnclip_df.weights.zoo import released_models

    path = Path(weights)
    if not path.exists() and weights in released_models():
        return Path("runs") / weights
    if not path.exists():
        raise LNCLIPError(f"{weights} is fetched from the Hub: name a folder for the results with --out")
    return path if path.is_dir() else path.parent
