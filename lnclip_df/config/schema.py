"""The detector's YAML, validated: one error line with the key's path, the value and what is accepted."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

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
