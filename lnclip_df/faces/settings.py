"""The settings that determine which crops a video gives, each with what it accepts."""

from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real

from lnclip_df.core.errors import LNCLIPError
from lnclip_df.faces.align import ALIGNMENTS, NATIVE
from lnclip_df.faces.base import PROVIDERS, Detector
from lnclip_df.faces.selection import ALONE, CHOICES
from lnclip_df.faces.tracking import shared_embedding
from lnclip_df.media.recipe import Recipe
from lnclip_df.media.sampling import MODES, SEARCHING

BOUNDS = {  # the kind of number, the minimum, the maximum
    "frames": (Integral, 1, 100_000),
    "stride": (Integral, 1, 1_000_000),
    "size": (Integral, 16, 4096),
    "scale": (Real, 1, 10),
    "score": (Real, 0, 1),
}
FREE = {"size": NATIVE, "score": None}  # what a setting may be instead of a number


@dataclass(frozen=True)
class CropSettings:
    """How faces are found in a video and cut out of it.

    Attributes:
        sampling: ``fixed_num_frames`` (evenly spaced), ``fixed_stride``, ``at_least`` (evenly spaced, then the frames
            farthest from those already searched, until ``frames`` of them show a face or none is left), or
            ``from_middle`` (the same from the middle frame alone on).
        frames: number of frames, 1 to 100000; not used by ``fixed_stride``.
        stride: distance between frames, for ``fixed_stride``.
        detector: ``retinaface``, ``dlib``, or the path of an InsightFace ONNX file.
        predictor: dlib's landmark predictor file.
        second_detection: with dlib, drop crops in which a second detection finds no face, as DeepfakeBench does.
        face: ``largest``, ``track`` (one person through the video), ``mask`` (the person whom the manipulation mask
            covers most) or ``mask_only`` (in each frame the face that the mask covers most, no face where it covers
            none; ``largest`` where a video has no mask); None: the dataset's own choice, else ``largest``.
        size: side of a crop in pixels, 16 to 4096; ``native``: as large as the face is in the frame.
        scale: enlargement of the crop beyond the five-point template, 1 to 10.
        score: minimum of a face by RetinaFace or an ONNX file, 0 to 1; the detector's own by default.
        detect_on: ``cpu`` or ``cuda``: the device of RetinaFace or an ONNX file.
        decode_on: ``cpu``, or a device on which FFmpeg decodes (``cuda``).
        alignment: a name in ``lnclip_df.faces.align.ALIGNMENTS``.
        name: the named recipe that the settings began with, see ``lnclip_df.faces.recipes``. It changes nothing.

    A setting out of range raises :class:`LNCLIPError`.
    """

    sampling: str = "fixed_num_frames"
    frames: int = 32
    stride: int = 10
    detector: str = "retinaface"
    predictor: str | None = None
    second_detection: bool = False
    face: str | None = None
    size: int | str = 256
    scale: float = 1.3
    score: float | None = None
    alignment: str = "deepfakebench"
    detect_on: str = "cpu"
    decode_on: str = "cpu"
    name: str = "paper"

    def __post_init__(self):
        for name, (kind, minimum, maximum) in BOUNDS.items():
            if name in FREE and getattr(self, name) == FREE[name]:
                continue
            check_number(name, getattr(self, name), kind, minimum, maximum, FREE.get(name))
            object.__setattr__(self, name, (int if kind is Integral else float)(getattr(self, name)))  # no NumPy number
        for name, accepted in (("sampling", MODES), ("face", (*CHOICES, None)), ("detect_on", tuple(PROVIDERS))):
            if getattr(self, name) not in accepted:
                names = ", ".join(filter(None, accepted))
                raise LNCLIPError(f"{name}: {getattr(self, name)!r} received; accepted are {names}")
        ALIGNMENTS.choose(self.alignment)
        if self.score is not None and self.detector == "dlib":
            raise LNCLIPError("score: dlib's scores are no probabilities; leave it out, or set another detector")
        if self.detect_on != "cpu" and self.detector == "dlib":
            raise LNCLIPError("detect_on: dlib runs on the CPU; leave it out, or set another detector")
        if self.second_detection and self.detector != "dlib":
            raise LNCLIPError("second_detection: only dlib has it; set detector to dlib, or leave it out")

    def with_default_face(self, face: str = "largest") -> "CropSettings":
        """The same settings, with ``face`` where none was chosen."""
        return self if self.face else replace(self, face=face)

    def recipe(self, detector: Detector, face: str | None = None) -> Recipe:
        """The recipe of crops that are made with these settings and this detector; ``face`` replaces that setting.

        Raises:
            LNCLIPError: people are followed, and the face embedding is missing.
        """
        face = face or self.face
        amount = {"stride": self.stride} if self.sampling == "fixed_stride" else {"frames": self.frames}
        alignment = ALIGNMENTS.choose(self.alignment).words
        cutting = {"face": face, "alignment": alignment, "size": self.size, "scale": self.scale}
        facts = {"detector": detector.recipe, **cutting, "sampling": {"mode": self.sampling, **amount}}
        devices = {"detect_on": self.detect_on, "decode_on": self.decode_on}  # their pixels and boxes differ slightly
        facts |= {key: device for key, device in devices.items() if device != "cpu"}
        return Recipe(facts if face in (*ALONE, None) else {**facts, "people": shared_embedding().recipe})

    @property
    def as_shown(self) -> bool:
        """Whether frames are those that a player shows; with ``second_detection``, those of DeepfakeBench's OpenCV.

        OpenCV turns frames, but it does not mirror them, and it takes every pixel for a square.
        """
        return not self.second_detection

    @property
    def searches(self) -> bool:
        """Whether more frames are searched until enough show a face."""
        return self.sampling in SEARCHING

    @property
    def crops(self) -> "CropSettings":
        """The settings of finding and cutting faces alone."""
        return CropSettings(**{field.name: getattr(self, field.name) for field in fields(CropSettings)})

    def to_dict(self) -> dict:
        """The settings as JSON values."""
        return asdict(self)


def check_number(name: str, value, kind, minimum, maximum=None, other: str | None = None):
    """Refuse a setting that is not a number of that kind within its bounds; ``other`` is what it may be instead."""
    if not (isinstance(value, kind) and value >= minimum and (maximum is None or value <= maximum)):
        number = "an integer" if kind is Integral else "a number"
        accepted = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        also = f", or {other}" if other else ""
        raise LNCLIPError(f"{name}: {value!r} received; accepted is {number}, {accepted}{also}")
