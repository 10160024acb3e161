"""The options that several commands share: their types, names and help, and the panels of the help."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.names import split_names

NONE: list[str] = []  # the default of options that can be repeated


def _panel(title: str) -> Callable[..., Any]:
    """A function that makes options of one panel of the help, from a help text and what ``typer.Option`` takes."""

    def option(text: str, *flags: str, **more: Any) -> Any:
        return typer.Option(*flags, help=text, rich_help_panel=title, **more)

    return option


detector, data, faces, dlib = _panel("Detector"), _panel("Data"), _panel("Faces"), _panel("Faces, with dlib")
results, running = _panel("Results"), _panel("Running")


def names(text: str, panel: Callable[..., Any] = data, *, read: Callable[[list[str]], list[str]] = split_names) -> Any:
    """An option for names, which may be repeated or contain several names with commas; ``read`` reads them."""
    return panel(f"{text} Separate names by commas, or repeat the option.", callback=read)


def _dataset(value: str | None) -> str | None:
    """A data set's name, also where its column of the leaderboard was given."""
    if value is None:
        return None
    from lnclip_df.datasets.schema import own_datasets
    from lnclip_df.evaluation.reference import dataset_of

    return value if value in own_datasets() else dataset_of(value)  # an older one may have the name of a column


def _datasets(values: list[str]) -> list[str]:
    return [name for value in split_names(values) if (name := _dataset(value))]


def dataset(text: str) -> Any:
    """An option for one data set, by name or column (CDFv2)."""
    return data(text, callback=_dataset)


def datasets(text: str) -> Any:
    """As :func:`names`, for data sets by name or column (CDFv2)."""
    return names(text, read=_datasets)


# --- the detector -----------------------------------------------------------------------------------------------------

ConfigFile = Annotated[str, detector("Detector YAML: a file, or the name of a packaged one (see: lnclip-df configs).")]
ConfigOfWeights = Annotated[
    str | None,
    detector("Detector YAML. By default config.yaml beside the weights, else the one saved in them, else lnclip.yaml."),
]
Set = Annotated[
    list[str],
    detector(
        "Override one key of the YAML: --set lnclip.slerp.enabled=false. May be repeated.",
        "--set", metavar="KEY=VALUE",
    ),
]  # fmt: skip
WEIGHTS = "Weights: a file, a run's folder, a released model (see: lnclip-df models), or a Hub repository."
Weights = Annotated[str, detector(WEIGHTS)]
WeightsOfTest = Annotated[str | None, detector(WEIGHTS)]
WeightsOrDefault = Annotated[str | None, detector(f"{WEIGHTS} By default $LNCLIP_WEIGHTS, else gend-clip.")]
Threshold = Annotated[
    float | None,
    detector("Score above which a file counts as fake. By default the threshold of lnclip-df calibrate, else 0.5."),
]

# --- data -------------------------------------------------------------------------------------------------------------

Dataset = Annotated[
    str,
    typer.Argument(help="Name of a data set (see: lnclip-df datasets), or a YAML of your own.", callback=_dataset),
]
Root = Annotated[Path, data("Folder that contains the folders and lists of the data sets.")]
RootOrNone = Annotated[
    Path | None,
    data("Folder that contains the folders and lists of the data sets. Not needed for one of lnclip-df dataset new."),
]
FacesRoot = Annotated[
    Path | None,
    data("Folder that contains the face crops. By default the one that the YAML names, or --root.", "--faces"),
]
Map = Annotated[list[str], data("Path of a folder that the YAML names. May be repeated.", "--map", metavar="NAME=PATH")]
Level = Annotated[str | None, data("Compression level to use, for example c23. By default all.")]
AllowMissing = Annotated[
    bool, data("For a validation set: leave out the parts that are not on disk.", "--allow-missing")
]
TestSets = Annotated[list[str], datasets("Data sets to test on. By default lnclip.benchmarks of the YAML.")]
Frames = Annotated[int, data("Number of frames per video.")]
FramesOrRecipes = Annotated[int | None, data("Number of frames per video. By default 32.")]
Sequences = Annotated[
    bool,
    data(
        "Read all numbered images of a folder (IMG_0001.jpg, …) as the frames of one video, not only those named by "
        "frame numbers (000.png, frame_12.jpg).",
        "--sequences",
    ),
]

# --- faces ------------------------------------------------------------------------------------------------------------

FaceDetector = Annotated[
    str | None,
    faces("Face detector: retinaface, dlib, or the path of an InsightFace .onnx file. By default the recipe's."),
]
Predictor = Annotated[str | None, dlib("Landmark predictor file of dlib, with 68 or 81 points. Needed with dlib.")]

# --- runs and statistics ----------------------------------------------------------------------------------------------

Run = Annotated[Path, typer.Argument(help="Folder of a run with predictions, or a CSV file of another tool's.")]
RunSets = Annotated[list[str], names("Data sets of the run. By default all.")]
RunOut = Annotated[Path | None, results("Folder of the run. By default runs/NAME_OF_THE_YAML.")]
AnalysisOut = Annotated[Path | None, results("Folder for the results. By default RUN/studies/NAME_OF_THE_ANALYSIS.")]
Resamples = Annotated[int, running("Number of bootstrap resamples. 0 leaves out the confidence intervals.", min=0)]
FalsePositiveRate = Annotated[
    float, detector("False positive rate on the validation set for which the threshold is set.")
]
Validation = Annotated[Path | None, data("Predictions on the validation set: the folder of a run, or a CSV file.")]

# --- how a command runs -----------------------------------------------------------------------------------------------

Device = Annotated[str | None, running("Device: cuda, cuda:1, cpu, … By default a GPU if there is one, else the CPU.")]
Accelerator = Annotated[str, running("Lightning's accelerator: auto, gpu, cpu, …")]
Devices = Annotated[
    str, running("Number of devices per node (2), or which GPUs (0,3), or auto: all GPUs. On the CPU, of processes.")
]
Strategy = Annotated[str, running("Lightning's strategy: auto, ddp, …")]
Workers = Annotated[int | None, running("Number of worker processes. By default the number of cores.")]
Shard = Annotated[str | None, running("Part of the videos, i/n: the i-th of n parts, for job arrays.")]
Seed = Annotated[int, running("Seed of everything that is drawn at random.", min=0)]
Quiet = Annotated[bool, running("Show no progress bars.", "--quiet")]

# --- DeepfakeBench ----------------------------------------------------------------------------------------------------

Checkout = Annotated[Path, typer.Argument(help="Root folder of a DeepfakeBench checkout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Also replace or remove installed files that you have edited.")]

# --- studies ----------------------------------------------------------------------------------------------------------

Seeds = Annotated[str, running("Seeds of the trainings, separated by commas.")]
Demo = Annotated[bool, data("Use the demo's synthetic videos and small backbone, on the CPU.", "--demo")]
DemoFolder = Annotated[Path, data("With --demo: folder of the demo, whose faces are made there once.", "--demo-data")]
StudyOut = Annotated[Path, results("Folder of the study.")]
TrainingYamls = Annotated[list[str], names("Detector YAMLs. By default the packaged ones of training/.", detector)]


def folders(values: list[str]) -> dict[str, str]:
    """``--map NAME=PATH`` options as a mapping."""
    for value in values:
        if "=" not in value:
            raise LNCLIPError(f"--map {value!r}: expected NAME=PATH")
    return dict(value.split("=", 1) for value in values)
