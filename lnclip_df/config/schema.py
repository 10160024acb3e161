"""The schema of a detector YAML: every key with its default, what is accepted, and its role.

DeepfakeBench's keys stand at the top level, ours under ``lnclip``.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveInt, field_validator, model_validator

from lnclip_df.config.roles import (
    AUGMENTATION,
    FRAMES,
    HOST,
    INPUT,
    LABELS,
    LENGTH,
    LOCATION,
    LOSS,
    MODEL,
    OPTIMISATION,
    PRECISION,
    SELECTION,
    SPEED,
    TEST_FRAMES,
    TRAINING_DATA,
    TUNING,
    UNKNOWN,
    Role,
)
from lnclip_df.config.validation import Section, overridden, section_of, validate

Fraction = Field(ge=0.0, le=1.0)
Positive = Annotated[float, Field(gt=0)]


class Vision(Section):
    """A vision transformer of one's own, in the words of open_clip's ``vision_cfg``; ``quick_gelu`` is CLIP's alone."""

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


class Backbone(Section):
    """Which vision tower, and where its weights come from.

    ``name`` is open_clip's of a CLIP, ``pe:`` and timm's name of a Perception Encoder, or ``dino:`` and one of
    ``lnclip_df.models.backbones.dino.SHAPES``. ``pretrained`` is a tag (of open_clip or timm), a repository of the Hub
    (of a DINO), a weights file, or ``none`` (random weights, drawn from ``seed``). ``image_size`` is the size of the
    images, where it is not that of the positions; CLIP takes no other. ``vision`` describes a transformer of one's own;
    the rest of ``name`` is then only its label.
    """

    name: str = "ViT-L-14-quickgelu"
    pretrained: str = Field("openai", min_length=1)
    image_size: PositiveInt | None = None
    vision: Vision | None = None
    seed: int = Field(0, ge=0, lt=2**63)

    @field_validator("pretrained", mode="before")
    @classmethod
    def _null_is_none(cls, value):
        return "none" if value is None else value


class Loss(Section):
    """Weights of the loss terms, the temperature of uniformity, and the notes' halved distances (spec: the losses)."""

    ce: float = Field(1.0, gt=0)
    alignment: float = Field(0.1, ge=0)
    uniformity: float = Field(0.5, ge=0)
    temperature: float = Field(2.0, gt=0)
    half_squared: bool = False


class Slerp(Section):
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


class Schedule(Section):
    """The cyclic learning rate: epochs of linear warm-up and of cosine decay in a cycle, and the two rates.

    With ``repeat_warmup: false`` only the first cycle has the warm-up, as in the authors' later release.
    """

    warmup_epochs: float = Field(1.0, ge=0)
    decay_epochs: float = Field(9.0, ge=0)
    repeat_warmup: bool = True
    lr_min: float = Field(1.0e-5, ge=0)
    lr_max: float = Field(3.0e-4, gt=0)

    @model_validator(mode="after")
    def _a_cycle(self):
        if self.warmup_epochs + self.decay_epochs <= 0:
            raise ValueError("warmup_epochs + decay_epochs must be above 0")
        if not self.repeat_warmup and not self.decay_epochs:
            raise ValueError("repeat_warmup: false needs decay_epochs above 0")
        if self.lr_min > self.lr_max:
            raise ValueError(f"lr_min {self.lr_min} is above lr_max {self.lr_max}")
        return self


class Replay(Section):
    """What of older training sets a training sees again: of each class of ``datasets`` the ``share`` of its videos."""

    datasets: list[str] = Field([])
    share: float = Field(0.1, gt=0, le=1)


class Settings(Section):
    """Everything under ``lnclip:``."""

    backbone: Annotated[Backbone, MODEL] = Backbone()
    tune: Annotated[Literal["none", "layernorm", "all"], TUNING] = "layernorm"
    normalize: Annotated[bool, MODEL] = True
    loss: Annotated[Loss, LOSS] = Loss()
    slerp: Annotated[Slerp, LOSS] = Slerp()
    schedule: Annotated[Schedule, OPTIMISATION] = Schedule()
    precision: Annotated[Literal["fp32", "tf32", "bf16", "fp16"], PRECISION] = "bf16"
    residual: Annotated[Literal["fp32", "bf16"], PRECISION] = "fp32"  # bf16: where precision is bf16
    activation_checkpointing: Annotated[bool, SPEED] = False
    compile: Annotated[bool | None, SPEED] = None  # null: on a GPU alone
    save_delta: Annotated[bool, SPEED] = False
    val_dataset: Annotated[list[str], SELECTION] = Field(["LNCLIP-val"])
    select: Annotated[Literal["map", "auroc"], SELECTION] = "map"
    benchmarks: Annotated[list[str] | None, HOST] = None
    train_frames: Annotated[Literal["even", "random"], TRAINING_DATA] = "even"
    drop_last: Annotated[bool, TRAINING_DATA] = False
    augmentation: Annotated[Literal["paper", "gend", "deepfakebench", "none"], AUGMENTATION] = "paper"
    augment_on: Annotated[Literal["cpu", "device"], AUGMENTATION] = "cpu"
    resize: Annotated[Literal["backbone", "deepfakebench"], INPUT] = "backbone"
    missing_frames: Annotated[Literal["error", "skip"], FRAMES] = "error"
    data_root: Annotated[str, LOCATION] = "."
    pack_dir: Annotated[str | None, SPEED] = Field("./datasets/pack", min_length=1)  # pixels are those of the files
    start_from: Annotated[str | None, OPTIMISATION] = Field(None, min_length=1)
    replay: Annotated[Replay, TRAINING_DATA] = Replay()

    @field_validator("resize", mode="before")
    @classmethod
    def _clip_is_a_backbone(cls, value):
        return "backbone" if value == "clip" else value

    @model_validator(mode="after")
    def _delta(self):
        if self.save_delta and self.tune == "all":
            raise ValueError("save_delta leaves out most of what tune: all trains; set save_delta: false")
        return self

    @model_validator(mode="after")
    def _augmented_on_the_device(self):
        if self.augment_on == "device" and self.augmentation not in ("paper", "gend"):
            raise ValueError(
                f"augment_on: device is for augmentation: paper or gend, not {self.augmentation}; set augment_on: cpu"
            )
        return self

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


class FrameNum(Section):
    """Frames of a video that each split takes; ``val`` is that of ``test`` unless given."""

    train: Annotated[PositiveInt, TRAINING_DATA] = 32
    test: Annotated[PositiveInt, TEST_FRAMES] = 32
    val: Annotated[PositiveInt | None, SELECTION] = None


class DataAug(Section):
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


class Adam(Section):
    """Adam's settings; the rate itself comes from ``lnclip.schedule``."""

    lr: Annotated[float, HOST] = Field(3.0e-4, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    eps: float = Field(1.0e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    amsgrad: bool = False


class Optimizer(Section):
    """The optimizer: Adam, as in the paper."""

    type: Literal["adam"] = "adam"
    adam: Adam = Adam()
    sgd: Annotated[dict[str, Any] | None, HOST] = None


class Config(Section):
    """A whole detector YAML: DeepfakeBench's keys, and ours under ``lnclip``."""

    model_name: Annotated[Literal["lnclip"], HOST] = "lnclip"
    backbone_name: Annotated[str | None, HOST] = None
    backbone_config: Annotated[dict[str, Any] | None, HOST] = None
    pretrained: Annotated[str | None, HOST] = None
    weights_path: Annotated[str | None, HOST] = None

    all_dataset: Annotated[list[str], HOST] = Field([])
    train_dataset: Annotated[list[str], TRAINING_DATA] = Field([])
    test_dataset: Annotated[list[str], HOST] = Field([])
    compression: Annotated[Literal["raw", "c23", "c40"], INPUT] = "c23"
    rgb_dir: Annotated[str, LOCATION] = "./datasets/rgb"
    lmdb: Annotated[bool, LOCATION] = False
    lmdb_dir: Annotated[str, LOCATION] = "./datasets/lmdb"
    dataset_json_folder: Annotated[str, SPEED] = "./preprocessing/dataset_json"
    label_dict: Annotated[dict[str, Literal[0, 1]] | None, LABELS] = None
    frame_num: Annotated[FrameNum, TEST_FRAMES] = FrameNum()
    resolution: Annotated[PositiveInt, INPUT] = 256
    with_mask: Annotated[bool, HOST] = False
    with_landmark: Annotated[bool, HOST] = False
    video_mode: Annotated[bool, HOST] = False
    clip_size: Annotated[PositiveInt | None, HOST] = None
    dataset_type: Annotated[str | None, HOST] = None
    train_batchSize: Annotated[PositiveInt, OPTIMISATION] = 128
    test_batchSize: Annotated[PositiveInt, SPEED] = 128
    workers: Annotated[int, SPEED] = Field(8, ge=0)
    use_data_augmentation: Annotated[bool, AUGMENTATION] = True
    data_aug: Annotated[DataAug | None, AUGMENTATION] = None
    mean: Annotated[tuple[float, float, float], INPUT] = (0.48145466, 0.4578275, 0.40821073)
    std: Annotated[tuple[Positive, Positive, Positive], INPUT] = (0.26862954, 0.26130258, 0.27577711)

    optimizer: Annotated[Optimizer, OPTIMISATION] = Optimizer()
    lr_scheduler: Annotated[Literal[None], HOST] = None
    nEpochs: Annotated[int, LENGTH] = Field(19, ge=0)
    start_epoch: Annotated[int, OPTIMISATION] = Field(0, ge=0)
    save_epoch: Annotated[PositiveInt, HOST] = 1
    rec_iter: Annotated[PositiveInt, SPEED] = 100
    log_dir: Annotated[str | None, HOST] = None
    logdir: Annotated[str | None, HOST] = None
    manualSeed: Annotated[int | None, OPTIMISATION] = Field(1024, ge=0, lt=2**63)
    save_ckpt: Annotated[bool, HOST] = True
    save_feat: Annotated[bool, HOST] = False
    save_avg: Annotated[bool, HOST] = True
    SWA: Annotated[bool, HOST] = False
    swa_start: Annotated[int | None, HOST] = None
    dry_run: Annotated[bool, HOST] = False
    mode: Annotated[str | None, HOST] = None
    ddp: Annotated[bool, SPEED] = False
    local_rank: Annotated[int, SPEED] = 0
    task_target: Annotated[str | None, HOST] = None
    loss_func: Annotated[str, HOST] = "cross_entropy"
    losstype: Annotated[str | None, HOST] = None
    metric_scoring: Annotated[Literal["auc", "acc", "eer", "ap"], HOST] = "auc"
    cuda: Annotated[bool, SPEED] = True
    cudnn: Annotated[bool, SPEED] = True

    lnclip: Settings = Settings()

    @model_validator(mode="after")
    def _fits_together(self):
        vision, size = self.lnclip.backbone.vision, self.lnclip.backbone.image_size
        own = size or (vision and vision.image_size)
        if self.lnclip.resize == "deepfakebench" and own and own != self.resolution:
            key = "image_size" if size else "vision.image_size"
            raise ValueError(
                f"resolution {self.resolution} differs from lnclip.backbone.{key} {own}; "
                "set them alike, or lnclip.resize: backbone"
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

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], source: str = "configuration") -> "Config":
        """Validate a mapping, which ``source`` (a file's name) holds.

        Raises:
            LNCLIPError: keys or values are wrong; one line for all of them.
        """
        return validate(cls, mapping, source)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON and YAML write it, every default filled in."""
        return self.model_dump(mode="json")

    def replace(self, changes: Mapping[str, Any] | Iterable[str]) -> "Config":
        """A validated copy with other values.

        Args:
            changes: values by dotted key (``{"lnclip.slerp.enabled": False, "workers": 0}``), or ``key=value`` strings
                as for ``load_config``.

        Raises:
            LNCLIPError: a key or value is wrong.
        """
        return type(self).from_dict(overridden(self.to_dict(), changes))

    def predicting(self) -> dict[str, Any]:
        """What the predictions of given weights depend on, by key (``compression``, ``lnclip.resize``), as JSON.

        A field without a role counts as one of these.
        """
        return {key: value for key, value in entries(self.to_dict()) if role_of(key).predicts}


def entries(config: Mapping[str, Any]):
    """The keys of a configuration's top level and of ``lnclip``, dotted, with their values."""
    for key, value in config.items():
        if key == "lnclip" and isinstance(value, Mapping):
            yield from ((f"lnclip.{name}", ours) for name, ours in value.items())
        else:
            yield key, value


def role_of(key: str) -> Role:
    """The role of a dotted key: its own, else that of the section it stands in; ``UNKNOWN`` where neither has one."""
    model: type[BaseModel] | None = Config
    role = UNKNOWN
    for part in key.split("."):
        field = None if model is None else model.model_fields.get(part)
        if field is None:
            break
        role = next((entry for entry in field.metadata if isinstance(entry, Role)), role)
        model = section_of(field.annotation)
    return role
