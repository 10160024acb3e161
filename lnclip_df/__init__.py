"""LNCLIP-DF: deepfake detection by tuning CLIP's LayerNorms on the unit sphere, at home in DeepfakeBench."""

__version__ = "0.1.0"

_PUBLIC = {
    "load_config": "lnclip_df.config",
    "LNCLIPDetector": "lnclip_df.detector",
    "LNCLIPError": "lnclip_df.errors",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
