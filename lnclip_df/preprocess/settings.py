"""What preprocessing can be told, each setting with what it accepts."""

from dataclasses import asdict, dataclass
from numbers import Integral, Real

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.selection import CHOICES
from lnclip_df.media.sampling import MODES

BOUNDS = {  # the kind of number, the least, the most
    "frames": (Integral, 1, 100_000),
    "stride": (Integral, 1, 1_000_000),
    "size": (Integral, 16, 4096),
    "scale": (Real, 1, 10),
}
ALIGNMENT = "five points onto DeepfakeBench's template, similarity, bilinear"


@dataclass(frozen=True)
class Settings:
    """How faces are cut out of a video; checked when it is made.

    Attributes:
        sampling: ``fixed_num_frames`` (evenly spaced), ``fixed_stride``, or ``at_least`` (evenly spaced, then the
            farthest from those looked at until ``frames`` of them show a face, or all were looked at).
        frames: how many, 1 to 100000; unused by ``fixed_stride``.
        stride: every how many frames, for ``fixed_stride``.
        detector: ``retinaface``, ``dlib``, or the path of an InsightFace ONNX file.
        predictor: dlib's landmark predictor file.
        second_detection: with dlib, drop crops in which a second detection finds no face, as DeepfakeBench does.
        face: ``largest``, ``track`` (one person through the video), ``mask`` (whom the manipulation mask covers most).
        size: side of a crop in pixels, 16 to 4096.
        scale: enlargement of the crop beyond the five-point template, 1 to 10.

    Raises:
        LNCLIPError: a setting is out of range.
    """

    sampling: str = "fixed_num_frames"
    frames: int = 32
    stride: int = 10
    detector: str = "retinaface"
    predictor: str | None = None
    second_detection: bool = False
    face: str = "largest"
    size: int = 256
    scale: float = 1.3

    def __post_init__(self):
        for name, (kind, least, most) in BOUNDS.items():
            check_number(name, getattr(self, name), kind, least, most)
            object.__setattr__(self, name, (int if kind is Integral else float)(getattr(self, name)))  # no NumPy number
        for name, accepted in (("sampling", MODES), ("face", CHOICES)):
            if getattr(self, name) not in accepted:
                raise LNCLIPError(f"{name}: {getattr(self, name)!r} received; accepted are {', '.join(accepted)}")
        if self.second_detection and self.detector != "dlib":
            raise LNCLIPError("second_detection: it is dlib's; set detector to dlib, or leave it out")

    def recipe(self, detector) -> dict:
        """What determines the crops, for their recipe: JSON values."""
        amount = {"stride": self.stride} if self.sampling == "fixed_stride" else {"frames": self.frames}
        return {
            "detector": detector.recipe,
            "face": self.face,
            "alignment": ALIGNMENT,
            "size": self.size,
            "scale": self.scale,
            "sampling": {"mode": self.sampling} | amount,
        }

    def as_dict(self) -> dict:
        """The settings as JSON values."""
        return asdict(self)


def check_number(name, value, kind, least, most=None):
    """Refuse a setting that is no number of that kind within its bounds."""
    if not (isinstance(value, kind) and value >= least and (most is None or value <= most)):
        number = "an integer" if kind is Integral else "a number"
        accepted = f"{least} or more" if most is None else f"{least} to {most}"
        raise LNCLIPError(f"{name}: {value!r} received; accepted is {number}, {accepted}")
