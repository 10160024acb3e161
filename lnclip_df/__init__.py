"""LNCLIP-DF: deepfake detection by tuning CLIP's LayerNorms on the unit sphere, at home in DeepfakeBench.

>>> import lnclip_df
>>> lnclip_df.predict("x.mp4")  # doctest: +SKIP
0.97
"""

import os

from lnclip_df.core.lazy import lazily

__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # which onnxruntime 1.29 and newer have on by default

_PUBLIC = {
    "build_detector": "weights",
    "load_config": "config.loading",
    "LNCLIPDetector": "models.detector",
    "LNCLIPError": "core.errors",
    "load": "scoring",
    "predict": "scoring",
}
__all__ = ["__version__", *_PUBLIC]
__getattr__ = lazily(__name__, _PUBLIC)
