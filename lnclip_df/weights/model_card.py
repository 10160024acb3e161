"""A model card for exported weights: the Hub's front matter and Markdown, of what their metadata say and no more."""

from pathlib import Path

import yaml

from lnclip_df.config.schema import Config
from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.files import read_json, sha256
from lnclip_df.weights.formats import HUB_BACKBONES
from lnclip_df.weights.hub import find_weights

PAPER = "arXiv 2508.06248"
# Our names of the figures, the Hub's, and a reader's.
FIGURES = {
    "auroc": ("roc_auc", "AUROC"),
    "ap": ("average_precision", "average precision"),
    "eer": ("equal_error_rate", "equal error rate"),
    "accuracy": ("accuracy", "accuracy at 0.5"),
}
TASK = {"type": "video-classification", "name": "Deepfake detection"}
UNKNOWN = "not recorded in the weights"

INTENDED = """\
To give a video or a picture of a face a score, 0 to 1, that is higher the more it looks like a face swap, a reenactment
or a lip-sync forgery: in research, in comparisons of detectors, and as one piece of evidence that a person weighs with
others. A score is evidence, not proof."""
OUT_OF_SCOPE = """\
* Decisions about people that rest on the score alone.
* Sound: a forged voice under a real picture is not looked at.
* Pictures without a face, and pictures that were generated as a whole: nothing is claimed of them.
* Faces that were not found, aligned and cut out as in training."""
LIMITATIONS = """\
* Recompression, blur, noise, occlusion and deliberate attacks may change a score: `lnclip-df robustness` measures it.
* Frames are scored one by one and averaged: what shows only over time is missed.
* Where no face is found there is no score, and where the wrong one is found the score is of that one.
* Error rates may differ between groups of people (`lnclip-df subgroups` measures it), and grow with forgeries that are
  newer than the training data.
* A score is a probability only after calibration on data like yours (`lnclip-df calibrate`)."""
LICENCE = """\
This card states none: whoever publishes the weights adds `license:` to its front matter. The weights derive from the
backbone's weights and from the training data, which have terms of their own."""
USE = """\
`pip install 'lnclip-df[preprocess]'`, then:
```sh
lnclip-df predict clip.mp4 --weights {weights}
lnclip-df test --weights {weights} --datasets Celeb-DF-v2
```"""
ONNX = """\
With onnxruntime: `image`, float32 batch × 3 × H × W, is an aligned face as `lnclip-df preprocess` cuts it out, scaled
to 0..1 and normalised with CLIP's mean and standard deviation; `logits`, batch × 2, are real and fake. Configuration
and test vectors are in the metadata, under `lnclip_df`."""
CITATION = """\
```bibtex
@article{yermakov2025deepfake,
  title   = {Deepfake Detection that Generalizes Across Benchmarks},
  author  = {Yermakov, Andrii and Cech, Jan and Matas, Jiri and Fritz, Mario},
  journal = {arXiv preprint arXiv:2508.06248},
  year    = {2025}
}
```"""


def read_metrics(paths, weights) -> list[dict]:
    """What ``lnclip-df test`` measured of some weights.

    Args:
        paths: files ``metrics/*.json`` of a run, or folders of them.
        weights: the weights that were tested, as ``lnclip_df.weights.load_weights`` takes them.

    Returns:
        The files' contents, in the order given; those of a folder by name.

    Raises:
        LNCLIPError: a file is absent, no such file, or of other weights; or a folder holds none.
    """
    tests = []
    own = sha256(find_weights(weights)) if paths else ""
    for path in _metrics_files(paths):
        test = read_json(path)
        made = test.get("weights") if isinstance(test, dict) else None
        if not isinstance(made, dict) or not isinstance(test.get("video"), dict) or not test.get("dataset"):
            raise LNCLIPError(f"{path} is no file of metrics/ that lnclip-df test wrote")
        if made.get("sha256") != own:
            raise LNCLIPError(
                f"{path} is of other weights (SHA-256 {str(made.get('sha256'))[:12]}…) than {weights} ({own[:12]}…); "
                "test these, or leave it out"
            )
        tests.append(test)
    return tests


def _metrics_files(paths):
    for path in map(Path, paths):
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise LNCLIPError(f"--metrics {path}: the folder holds no .json file; name the metrics/ of a run")
        yield from found


def model_card(name: str, facts: dict, *, trained: Config | None = None, tests=()) -> str:
    """The model card of exported weights, as the Hub's README.md.

    Args:
        name: of the model.
        facts: what travels with the weights, see ``lnclip_df.weights.save.facts_of``.
        trained: the configuration that they were trained with, validated; None where that is unknown.
        tests: see :func:`read_metrics`.

    Returns:
        Markdown, with YAML front matter whose ``model-index`` holds the figures as they were measured. Neither states a
        figure that ``facts`` and ``tests`` do not hold, nor a licence, which is the publisher's to choose.
    """
    results = [*_validation(facts, trained), *map(_test, tests)]
    results = [result for result in results if result["figures"]]
    sections = {
        "Intended use": INTENDED,
        "Out of scope": OUT_OF_SCOPE,
        "The weights": _table(_weights(facts)),
        "Training": _training(facts, trained),
        "Evaluation": _evaluation(results),
        "Limitations": LIMITATIONS,
        "How to use": _use(facts["format"]),
        "Licence": LICENCE,
        "Citation": CITATION,
    }
    body = "\n\n".join(f"## {title}\n{text.strip()}" for title, text in sections.items())
    front = yaml.safe_dump(_front(name, facts, trained, results), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n# {_plain(name)}\n\n{_introduction(facts)}\n\n{body}\n"


def _front(name, facts, trained, results):
    front = {"library_name": "lnclip-df", "tags": ["deepfake-detection", "lnclip-df", "clip"]}
    base = _base_model(trained)
    if base:
        front["base_model"] = base
    if results:
        front["metrics"] = [FIGURES[key][0] for key in FIGURES if any(key in result["figures"] for result in results)]
        front["model-index"] = [{"name": printable(name), "results": [_index_entry(result) for result in results]}]
    return front


def _index_entry(result):
    metrics = [
        {"type": FIGURES[key][0], "value": value, "name": f"Video {FIGURES[key][1]}"}
        for key, value in result["figures"].items()
    ]
    name = printable(result["dataset"])
    dataset = {"type": name, "name": name, "split": printable(result["split"])}
    return {"task": dict(TASK), "dataset": dataset, "metrics": metrics}


def _base_model(trained):
    """The Hub's name of the model that was fine-tuned, where it is known."""
    if trained is None or trained.lnclip.backbone.pretrained != "openai" or trained.lnclip.backbone.vision:
        return None
    return next((theirs for theirs, ours in HUB_BACKBONES.items() if ours == trained.lnclip.backbone.name), None)


def _figures(measured):
    """Those of ``FIGURES`` that were measured, 0..1."""
    measured = measured if isinstance(measured, dict) else {}
    return {key: measured[key] for key in FIGURES if _is_share(measured.get(key))}


def _is_share(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _validation(facts, trained):
    """What training measured on its validation set at the epoch that was chosen."""
    if "metric" not in facts:
        return []
    sets = trained.lnclip.val_dataset if trained else ["unknown"]
    return [{"dataset": ", ".join(sets), "split": "val", "figures": _figures(facts["metric"])}]


def _test(test):
    counts = {key: test[key] for key in ("videos", "frames") if isinstance(test.get(key), int)}
    return {
        "dataset": str(test["dataset"]),
        "split": str(test.get("split", "test")),
        "figures": _figures(test["video"]),
        "skipped": len(test.get("skipped_frames") or ()),
        "crops": test["crops"] if isinstance(test.get("crops"), dict) else {},
        "versions": test["versions"] if isinstance(test.get("versions"), dict) else {},
        **counts,
    }


def _introduction(facts):
    return (
        f"A deepfake detector: LNCLIP-DF (Yermakov, Cech, Matas, Fritz, [{PAPER}](https://arxiv.org/abs/2508.06248)), "
        "a vision transformer of CLIP's kind and a linear head. Exported as "
        f"`{facts['format']}` by lnclip-df {facts['lnclip_df']} from: {_plain(facts.get('origin', UNKNOWN))}."
    )


def _weights(facts):
    tower = facts["backbone"]
    activation = "QuickGELU" if tower["quick_gelu"] else "GELU"
    shape = f"{tower['layers']} layers of width {tower['width']}, patches of {tower['patch_size']} pixels, {activation}"
    yield "backbone", f"vision transformer, {shape}"
    yield "input", f"an aligned face, {tower['image_size']} × {tower['image_size']} pixels"
    yield "feature", "normalised to the unit sphere" if tower["normalize"] else "not normalised"
    yield "output", "two logits (real, fake); softmax gives the probability of fake"
    frozen = facts.get("frozen")
    if frozen:
        yield "needs", f"the weights of {_code(frozen['name'])} ({_code(_name_of(frozen['pretrained']))})"
        yield "SHA-256 of those frozen weights", _code(frozen["sha256"])


def _training(facts, trained):
    if trained is None:
        return f"Training data, settings and the choice of the epoch: {UNKNOWN}."
    return _table(row for row in _recipe(facts, trained) if row[1])


def _recipe(facts, trained):
    trained = trained.to_dict()
    ours = trained["lnclip"]
    replay = ours["replay"]
    crops = facts.get("crops")
    yield "training data", _listed(trained["train_dataset"])
    yield "compression", _code(trained["compression"])
    yield "replayed", replay["datasets"] and f"{_listed(replay['datasets'])}, a share of {replay['share']}"
    yield "crops, by recipe", _listed(crops) if isinstance(crops, dict) else UNKNOWN
    yield "began with", ours["start_from"] and _code(_name_of(ours["start_from"]))
    yield "epoch, from 0", _plain(facts["epoch"])
    yield "chosen by", _plain(facts.get("selection", UNKNOWN))
    yield "seed", _plain(facts.get("seed", UNKNOWN))
    for key in ("backbone", "tune", "loss", "slerp", "schedule", "precision", "augmentation", "resize"):
        yield f"`lnclip.{key}`", _code(_setting(ours[key]))
    yield "`train_batchSize`", _code(trained["train_batchSize"])


def _setting(value):
    """A key's value as YAML in one line; of files, the names alone."""
    if isinstance(value, dict):
        value = {name: _name_of(x) if name == "pretrained" else x for name, x in value.items() if x is not None}
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def _evaluation(results):
    if not results:
        return "No figure is recorded in the weights, and none was given."
    head = ["dataset", "split", "videos", "frames", *(f"video {name}" for _, name in FIGURES.values())]
    rows = [
        [_code(r["dataset"]), _plain(r["split"]), _count(r, "videos"), _count(r, "frames"), *_shown(r)] for r in results
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", *_notes(results)])


def _notes(results):
    yield "A video's score is the mean probability of fake of its frames. The front matter has the figures unrounded."
    if any(result["split"] == "val" for result in results):
        yield "The epoch was chosen on the split `val`: its figures flatter the detector."
    for result in results:
        if "skipped" in result:
            crops, name = _listed(result["crops"], "unknown"), _code(result["dataset"])
            versions = _listed([f"{package} {version}" for package, version in result["versions"].items()], "unknown")
            yield f"{name}: crops of recipe {crops}; {result['skipped']} frames could not be read; versions {versions}."


def _shown(result):
    return [f"{result['figures'][key]:.4f}" if key in result["figures"] else "–" for key in FIGURES]


def _count(result, key):
    return str(result[key]) if key in result else "–"


def _use(format):
    if format == "onnx":
        return ONNX
    weights = "THIS_FOLDER" if format == "transformers" else "THIS_FILE.safetensors"
    return USE.format(weights=weights)


def _table(rows):
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows)])


def _listed(names, otherwise=""):
    return ", ".join(map(_code, names)) if names else otherwise


def _name_of(pretrained):
    """A tag, or the name of a file without its folders, which are nobody else's business."""
    return Path(str(pretrained)).name


def _code(text):
    """Text from the metadata as Markdown code within a table."""
    return "" if text in (None, "") else f"`{printable(str(text)).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _plain(text):
    """Text from the metadata as Markdown's plain text."""
    escaped = printable(str(text)).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in r"\`*_[]|#" else c for c in escaped)
