"""Small pictures of videos for the page, from the crops that the predictions name."""

import base64
import io
from collections.abc import Collection
from pathlib import Path

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.core.files import inside
from lnclip_df.datasets.dataset_json import frame_path
from lnclip_df.datasets.frames import read_frame
from lnclip_df.evaluation.predictions import worst_frames
from lnclip_df.evaluation.runs import Run

SIDE = 56  # pixels


def thumbnails(run: Run, dataset: str, videos: Collection[str], crops: str | Path | None) -> dict[str, str]:
    """The data URIs of some videos' worst frames, by video; a video whose crop is not there has none.

    ``crops`` was ``lnclip.data_root`` in the test: frames are read there as in a test, from a pack or from files.
    Nothing outside it is read.
    """
    if crops is None or dataset not in run.files:
        return {}
    frames = worst_frames(run.files[dataset], videos)
    made = run.provenance[dataset].predicted or {}
    rgb_dir = made.get("rgb_dir", Config.model_fields["rgb_dir"].default)
    config = Config().replace({"lnclip.data_root": str(crops), "rgb_dir": rgb_dir})
    found = {video: _data_uri(config, dataset, frame) for video, frame in frames.items()}
    return {video: uri for video, uri in found.items() if uri}


def _data_uri(config, dataset, frame) -> str | None:
    from PIL import Image

    try:
        inside(config.lnclip.data_root, frame_path(frame, ".", config.rgb_dir))
        image = Image.fromarray(read_frame(config, dataset, frame))
    except LNCLIPError:
        return None
    data = io.BytesIO()
    image.resize((SIDE, SIDE)).save(data, "JPEG", quality=75)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"
