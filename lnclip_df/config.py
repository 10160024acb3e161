"""The detector's YAML, validated: one error line with the key's path, the value and what is accepted."""

import difflib
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from lnclip_df.errors import LNCLIPError, one_line

Fraction = Field(ge=0.0, le=1.0)
Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Vision(_Section):
    """A vision transformer that open_clip does not list, in the words of open_clip's ``vision_cfg``."""

    image_size: PositiveInt = 224
    patch_size: PositiveInt = 16
    width: PositiveInt = 768
    layers: PositiveInt = 12
    head_width: PositiveInt = 64
    mlp_ratio: float = Field(4.0, gt=0)
    quick_gelu: bool = True

    @model_validator(mode="after")
    def _divisible(self):
        if self.width % self.head_width:
            raise ValueError(f"width {self.width} is not a multiple of head_width {self.head_width}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        return self


class Backbone(_Section):
    """Which CLIP vision tower, and where its weights come from.

    ``pretrained`` is an open_clip tag, a weights file, or ``none`` (random weights, drawn from ``seed``).
    ``vision`` describes a transformer of one's own; ``name`` is then only its label.
    """

    name: str = "ViT-L-14-quickgelu"
    pretrained: str = Field("openai", min_length=1)
    vision: Vision | None = None
    seed: int = Field(0, ge=0, lt=2**63)

    @field_validator("pretrained", mode="before")
    @classmethod
    def _null_is_none(cls, value):
        return "none" if value is None else value


class Loss(_Section):
    """Weights of the loss terms, the temperature of uniformity, and the notes' halved distances (spec: the losses)."""

    ce: float = Field(1.0, gt=0)
    alignment: float = Field(0.1, ge=0)
    uniformity: float = Field(0.5, ge=0)
    temperature: float = Field(2.0, gt=0)
    half_squared: bool = False


class Slerp(_Section):
    """The latent augmentation: on or off, the size that a batch grows to, and the range of t."""

    enabled: bool = True
    batch_size: PositiveInt = 1024
    t_range: tuple[float, float] = (0.0, 1.0)

    @field_validator("t_range")
    @classmethod
    def _ordered(cls, value):
        low, high = value
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError("needs 0 <= low <= high <= 1")
        return value


class Schedule(_Section):
    """The cyclic learning rate: epochs of linear warm-up and of cosine decay in a cycle, and the two rates."""

    warmup_epochs: float = Field(1.0, ge=0)
    decay_epochs: float = Field(9.0, ge=0)
    lr_min: float = Field(1.0e-5, ge=0)
    lr_max: float = Field(3.0e-4, gt=0)

    @model_validator(mode="after")
    def _a_cycle(self):
        if self.warmup_epochs + self.decay_epochs <= 0:
            raise ValueError("warmup_epochs + decay_epochs must be above 0")
        if self.lr_min > self.lr_max:
            raise ValueError(f"lr_min {self.lr_min} is above lr_max {self.lr_max}")
        return self


class Replay(_Section):
    """What of older training sets a training sees again: of each class of ``datasets`` the ``share`` of its videos."""

    datasets: list[str] = []
    share: float = Field(0.1, gt=0, le=1)


class Settings(_Section):
    """Everything under ``lnclip:``."""

    backbone: Backbone = Backbone()
    tune: Literal["none", "layernorm", "all"] = "layernorm"
    normalize: bool = True
    loss: Loss = Loss()
    slerp: Slerp = Slerp()
    schedule: Schedule = Schedule()
    precision: Literal["fp32", "bf16"] = "bf16"
    activation_checkpointing: bool = False
    compile: bool = False
    val_dataset: list[str] = ["LNCLIP-val"]
    benchmarks: list[str] | None = None
    augmentation: Literal["paper", "deepfakebench", "none"] = "paper"
    resize: Literal["deepfakebench", "clip"] = "deepfakebench"
    missing_frames: Literal["error", "skip"] = "error"
    data_root: str = "."
    start_from: str | None = Field(None, min_length=1)
    replay: Replay = Replay()

    @model_validator(mode="after")
    def _sphere(self):
        on_the_sphere = {
            "slerp.enabled": self.slerp.enabled,
            "loss.alignment": self.loss.alignment > 0,
            "loss.uniformity": self.loss.uniformity > 0,
        }
        needing = [key for key, used in on_the_sphere.items() if used]
        if needing and not self.normalize:
            raise ValueError(
                f"normalize: false leaves the sphere that {', '.join(needing)} work on; "
                "set normalize: true, or slerp.enabled: false and both loss weights to 0"
            )
        return self


class FrameNum(_Section):
    """Frames of a video that each split takes; ``val`` is that of ``test`` unless given."""

    train: PositiveInt = 32
    test: PositiveInt = 32
    val: PositiveInt | None = None


class DataAug(_Section):
    """DeepfakeBench's ``data_aug``."""

    flip_prob: float = Fraction
    rotate_prob: float = Fraction
    rotate_limit: tuple[float, float]
    blur_prob: float = Fraction
    blur_limit: tuple[int, int]
    brightness_prob: float = Fraction
    brightness_limit: tuple[float, float]
    contrast_limit: tuple[float, float]
    quality_lower: int = Field(ge=1, le=100)
    quality_upper: int = Field(ge=1, le=100)


class Adam(_Section):
    """Adam's settings; the rate itself comes from ``lnclip.schedule``."""

    lr: float = Field(3.0e-4, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1.0e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    amsgrad: bool = False


class Optimizer(_Section):
    """The optimizer: Adam, as in the paper."""

    type: Literal["adam"] = "adam"
    adam: Adam = Adam()
    sgd: dict[str, Any] | None = None


class Config(_Section):
    """A whole detector YAML: DeepfakeBench's keys, and ours under ``lnclip``."""

    model_name: Literal["lnclip"] = "lnclip"
    backbone_name: str | None = None
    backbone_config: dict[str, Any] | None = None
    pretrained: str | None = None
    weights_path: str | None = None

    all_dataset: list[str] = []
    train_dataset: list[str] = []
    test_dataset: list[str] = []
    compression: Literal["raw", "c23", "c40"] = "c23"
    rgb_dir: str = "./datasets/rgb"
    lmdb: bool = False
    lmdb_dir: str = "./datasets/lmdb"
    dataset_json_folder: str = "./preprocessing/dataset_json"
    label_dict: dict[str, Literal[0, 1]] | None = None
    frame_num: FrameNum = FrameNum()
    resolution: PositiveInt = 224
    with_mask: bool = False
    with_landmark: bool = False
    video_mode: bool = False
    clip_size: PositiveInt | None = None
    dataset_type: str | None = None
    train_batchSize: PositiveInt = 128
    test_batchSize: PositiveInt = 128
    workers: int = Field(8, ge=0)
    use_data_augmentation: bool = True
    data_aug: DataAug | None = None
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[Positive, Positive, Positive] = (0.26862954, 0.26130258, 0.27577711)

    optimizer: Optimizer = Optimizer()
    lr_scheduler: Literal[None] = None
    nEpochs: int = Field(19, ge=0)
    start_epoch: int = Field(0, ge=0)
    save_epoch: PositiveInt = 1
    rec_iter: PositiveInt = 100
    log_dir: str | None = None
    logdir: str | None = None
    manualSeed: int | None = Field(1024, ge=0, lt=2**63)
    save_ckpt: bool = True
    save_feat: bool = False
    save_avg: bool = True
    SWA: bool = False
    swa_start: int | None = None
    dry_run: bool = False
    mode: str | None = None
    ddp: bool = False
    local_rank: int = 0
    task_target: str | None = None
    loss_func: str = "cross_entropy"
    losstype: str | None = None
    metric_scoring: Literal["auc", "acc", "eer", "ap"] = "auc"
    cuda: bool = True
    cudnn: bool = True

    lnclip: Settings = Settings()

    @model_validator(mode="after")
    def _fits_together(self):
        vision = self.lnclip.backbone.vision
        if vision is not None and vision.image_size != self.resolution:
            raise ValueError(
                f"resolution {self.resolution} differs from lnclip.backbone.vision.image_size {vision.image_size}"
            )
        slerp = self.lnclip.slerp
        if slerp.enabled and slerp.batch_size < self.train_batchSize:
            raise ValueError(
                f"lnclip.slerp.batch_size {slerp.batch_size} is below train_batchSize {self.train_batchSize}: "
                "slerp grows a batch, it cannot shrink one"
            )
        if again := set(self.lnclip.replay.datasets) & set(self.train_dataset):
            raise ValueError(
                f"lnclip.replay.datasets names {', '.join(sorted(again))}, all of which train_dataset trains on; "
                "take it out of one of them"
            )
        if self.lnclip.augmentation == "deepfakebench" and self.data_aug is None:
            raise ValueError("lnclip.augmentation: deepfakebench needs the data_aug section")
        return self


OTHER_YAMLS = {"labels.yaml", "reference.yaml"}


def bench_configs() -> Path:
    """Folder of the YAMLs that travel with the package, in a checkout and in a wheel alike."""
    here = Path(__file__).resolve().parent
    packaged = here / "bench_configs"
    return packaged if packaged.is_dir() else here.parent / "bench_configs"


def detector_yamls() -> list[str]:
    """Names of the packaged YAMLs that :func:`load_config` takes: all but labels, datasets and published figures."""
    folder = bench_configs()
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")]
    return sorted(name for name in names if name not in OTHER_YAMLS and not name.startswith("datasets/"))


def find_config(path) -> Path:
    """Find a detector's YAML: the file itself, else the one of that name that travels with the package.

    Raises:
        LNCLIPError: neither is there; the message lists the names that are.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_absolute():
        packaged = bench_configs() / path
        if packaged.is_file() and path.as_posix() in detector_yamls():
            return packaged
    raise LNCLIPError(f"no config {path}; give a YAML file or one of: {', '.join(detector_yamls())}")


def read_yaml(path) -> dict:
    """Read a YAML mapping with ``yaml.safe_load``.

    Raises:
        LNCLIPError: unreadable, not YAML (the message names line and column), or not a mapping.
    """
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise LNCLIPError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise LNCLIPError(f"{path} is not YAML: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise LNCLIPError(f"{path} is not a YAML mapping of keys to values")
    return value


def load_config(path, overrides=()) -> dict:
    """Read and validate a detector YAML as the command line does.

    Args:
        path: a YAML file, or the name of one that travels with the package (``lnclip.yaml``,
            ``ablation/1-linear-probe.yaml``).
        overrides: ``key=value`` strings; keys are dotted (``lnclip.slerp.enabled=false``), values are YAML.

    Returns:
        The configuration as a plain ``dict``, every default filled in; ``label_dict`` is the packaged one unless the
        YAML has its own.

    Raises:
        LNCLIPError: a file, key or value is wrong; one line for all of them.
    """
    path = find_config(path)
    raw = read_yaml(path)
    for override in overrides:
        _override(raw, override)
    config = validate(Config, raw, str(path), "").model_dump(mode="json")
    if config["label_dict"] is None:
        config["label_dict"] = labels()
    return config


def labels() -> dict:
    """Every label name that our dataset files use, DeepfakeBench's included: ``{name: 0 real | 1 fake}``."""
    groups = read_yaml(bench_configs() / "labels.yaml")
    return {name: value for group in groups.values() for name, value in group.items()}


def settings(config: dict) -> Settings:
    """The validated ``lnclip:`` section of a configuration, whoever merged the rest (DeepfakeBench does).

    Raises:
        LNCLIPError: a key or value under ``lnclip`` is wrong.
    """
    return validate(Settings, config.get("lnclip") or {}, "configuration", "lnclip")


def _override(raw, override):
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise LNCLIPError(f"--set {override!r}: expected key=value, such as lnclip.slerp.enabled=false")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise LNCLIPError(f"--set {override!r}: the value is not YAML: {one_line(error)}") from error
    section = raw
    for depth, part in enumerate(parts[:-1]):
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            raise LNCLIPError(f"--set {override!r}: {'.'.join(parts[: depth + 1])} is a value, not a section")
    section[parts[-1]] = value


def validate(model, raw, source, prefix=""):
    """Make a pydantic ``model`` of ``raw``, a mapping that ``source`` (a file) holds under the key ``prefix``.

    Raises:
        LNCLIPError: keys or values are wrong; one line for all of them, each with its path.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(model, item, prefix) for item in error.errors(include_url=False)]
        raise LNCLIPError(f"{source}: " + "; ".join(lines)) from error


def _explain(model, item, prefix):
    location = [str(part) for part in item["loc"]]
    path = ".".join(([prefix] if prefix else []) + location) or "configuration"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys(model, location[:-1]), n=1)
        return f"{path}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    message = item["msg"].removeprefix("Value error, ")
    value = item.get("input")
    shown = "" if isinstance(value, (dict, BaseModel)) else f" (received {reprlib.repr(value)})"
    return f"{path}: {message[0].lower()}{message[1:]}{shown}"


def _keys(model, location):
    for part in location:
        field = model.model_fields.get(part)
        if field is None:  # the place in a list, or the key of a mapping
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)
