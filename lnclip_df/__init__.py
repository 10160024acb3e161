"""LNCLIP-DF: deepfake detection by tuning CLIP's LayerNorms on the unit sphere, at home in DeepfakeBench.

>>> import lnclip_df
>>> lnclip_df.predict("x.mp4")  # doctest: +SKIP
0.97
"""

import os

__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # which onnxruntime 1.29 and newer have on by default

_PUBLIC = {
    "load_config": "lnclip_df.config",
    "LNCLIPDetector": "lnclip_df.detector",
    "LNCLIPError": "lnclip_df.errors",
    "load": "lnclip_df.scoring",
    "predict": "lnclip_df.scoring",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
