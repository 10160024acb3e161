"""Audit of a dataset on disk for the leaderboard: its counts, its images, and what its splits share."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from numbers import Integral
from pathlib import Path, PurePosixPath
from statistics import median

import numpy as np

from lnclip_df.core import enough
from lnclip_df.core.devices import usable_cores
from lnclip_df.core.errors import LNCLIPError, printable
from lnclip_df.core.files import write_json
from lnclip_df.core.findings import Finding, Status
from lnclip_df.datasets.dataset_json import SPLITS
from lnclip_df.datasets.items import Item
from lnclip_df.datasets.scan import scan_faces, scan_videos
from lnclip_df.datasets.schema import load_dataset
from lnclip_df.faces.align import NATIVE
from lnclip_df.faces.settings import check_number
from lnclip_df.media.png_check import CheckedImages, check_images
from lnclip_df.media.recipe import departure

EXAMPLES = 5
FIT = "fit for the leaderboard"
VIDEOS = "videos"  # the finding that there are few
MAX_MISSING = 0.01  # share of its videos that a comparable dataset may lack: in some no detector finds a face


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        counts: ``{split: {label: {method or "real": videos}}}`` of the videos with faces; ``unused`` is in no split.
        frames: faces per video: ``min``, ``median``, ``max``.
        recipes: images by the fingerprint of their recipe, ``foreign`` without one.
    """

    dataset: str
    counts: dict[str, dict[str, dict[str, int]]]
    frames: dict[str, float]
    recipes: dict[str, int]
    findings: list[Finding]

    @property
    def fit(self) -> bool:
        """Whether figures on this data can be compared in the leaderboard: no finding is a problem."""
        return all(finding.status != "problem" for finding in self.findings)

    def write(self, path: Path):
        """Write the report as JSON, whole or not at all."""
        write_json(path, {**asdict(self), "fit": self.fit})

    def __str__(self):
        problems = sum(finding.status == "problem" for finding in self.findings)
        few = any(finding.name == VIDEOS and finding.found.startswith("test") for finding in self.findings)
        verdict = "no problem, but too few videos for the leaderboard" if few else FIT
        if problems:
            verdict = f"not fit for the leaderboard, {problems} problem{'s' * (problems > 1)}"
        lines = [f"{self.dataset}: {verdict}"]
        for split, labels in self.counts.items():
            cells = (f"{label} {_listed(methods)}" for label, methods in labels.items())
            lines.append(f"  {split:6} {'; '.join(cells)}")
        for finding in self.findings:
            lines += [str(finding), *(f"          {example}" for example in finding.examples)]
        return "\n".join(map(printable, lines))


@dataclass(frozen=True)
class AuditOptions:
    """What an audit expects, and how it runs.

    Attributes:
        frames: faces that a video should have.
        size: side that they should have, in pixels; ``native``: any, as long as they are square.
        quick: decode the middle face of each video only.
        workers: processes that decode; None takes the number of cores.

    Raises:
        LNCLIPError: a number is below 1, or is none.
    """

    frames: int = 32
    size: int | str = 256
    quick: bool = False
    workers: int | None = None
    progress: bool = True

    def __post_init__(self):
        for name, value in (("frames", self.frames), ("size", self.size), ("workers", self.workers)):
            if value is not None and (name, value) != ("size", NATIVE):
                check_number(name, value, Integral, 1, other=NATIVE if name == "size" else None)


def audit_dataset(
    dataset, root, options: AuditOptions, *, faces=None, folders=None, level: str | None = None, allow_missing=False,
    splits: Sequence[str] = (),
) -> AuditReport:  # fmt: skip
    """Audit the faces below a folder, and the raw videos if they are there too.

    ``splits`` are those whose videos are audited, all by default. The other arguments and the errors are those of
    :func:`~lnclip_df.datasets.scan.scan_faces` and :func:`audit`.
    """
    items = scan_faces(dataset, root, faces=faces, folders=folders, level=level, allow_missing=allow_missing)
    try:
        videos = scan_videos(dataset, root, folders=folders, level=level, allow_missing=allow_missing)
    except LNCLIPError:  # only the faces are on disk
        videos = []
    if splits:
        items, videos = ([item for item in each if set(item.splits) & set(splits)] for each in (items, videos))
    return audit(dataset, items, options, videos=videos)


def audit(
    dataset, items: Iterable[Item], options: AuditOptions = AuditOptions(), *, videos: Sequence[Item] = ()
) -> AuditReport:
    """Check a dataset's faces, and change nothing.

    A problem makes figures on this data wrong or incomparable; a warning is good to know. Up to 1 % of the videos may
    be missing, or have no face, with a warning.

    Args:
        dataset: what ``load_dataset`` takes.
        items: its faces, from ``scan_faces``.
        options: what is expected, and how the audit runs.
        videos: its raw videos, from ``scan_videos``, if they are on disk: then these are counted, and show which have
            no face.
    """
    dataset = load_dataset(dataset)
    items = sorted(items, key=lambda item: item.path)
    faces = [item for item in items if len(item.frames)]
    used = [item for item in faces if item.splits]
    chosen = [item.frames[len(item.frames) // 2 :][:1] if options.quick else item.frames for item in used]
    size, workers = None if isinstance(options.size, str) else options.size, options.workers or usable_cores()
    checked = check_images(chosen, size, workers=workers, progress=options.progress)
    recipes = sum((images.recipes for images in checked), Counter())
    folders = [item.path.partition("/")[0] if dataset.combine else "" for item in used]
    lengths = [len(item.frames) for item in used] or [0]
    findings = [
        *_facts(dataset),
        *_counts(dataset, videos or faces),
        *_few(used),
        *_frames(items, used, videos, options.frames),
        *_images(checked, options.size, options.quick),
        *_duplicates(used, chosen, checked, options.quick),
        *_leaks(dataset, used),
        *_pairs(items, used, videos),
        _recipes(recipes, folders, checked),
        *_names(used),
    ]
    return AuditReport(
        dataset.name,
        counts=_table(faces),
        frames={"min": min(lengths), "median": median(lengths), "max": max(lengths)},
        recipes=dict(recipes.most_common()),
        findings=findings,
    )


def _finding(name: str, status: Status, found: str, cases: Sequence[str], fix: str = "") -> Finding:
    """A finding with the number of its cases, and the first of them as examples."""
    return Finding(name, status, found, fix, len(cases), tuple(cases[:EXAMPLES]))


def _listed(counts: dict) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


# --- facts ------------------------------------------------------------------------------------------------------------


def _facts(dataset) -> Iterator[Finding]:
    """What the YAML says of the dataset, whatever is on disk."""
    if dataset.combine is None and not dataset.layout_checked:
        source, checked = dataset.layout or "no source is named", dataset.checked or "nothing"
        found = f"its YAML has not been checked on the real release ({source}); checked on real files: {checked}"
        yield Finding("layout", "warning", found, "check the counts")
    for note in dataset.notes:
        yield Finding("note", "ok", note)
    for overlap in dataset.overlaps:
        yield Finding("published overlap", "ok", overlap)


# --- counts -----------------------------------------------------------------------------------------------------------


def _table(items) -> dict:
    table: dict = defaultdict(lambda: defaultdict(Counter))
    for item in items:
        for split in item.splits or ("unused",):
            table[split][item.label][item.method or ("fake" if item.fake else "real")] += 1
    order = [split for split in (*SPLITS, "unused") if split in table]
    return {s: {label: dict(sorted(methods.items())) for label, methods in sorted(table[s].items())} for s in order}


def _counts(dataset, items) -> Iterator[Finding]:
    """The counts by split and label, and by split and method, against those of the release; level by level."""
    if dataset.combine:
        wanted = 2 * sum(part.videos for part in dataset.combine.parts)
        found = f"{len(items)} of the {wanted} videos that its YAML draws"
        yield Finding("counts", "ok" if len(items) == wanted else "warning", found, count=len(items))
        return
    expected = dataset.expected
    if expected is None or not (expected.labels or expected.methods):
        yield Finding("counts", "ok", f"{len(items)} videos; how many the release has is not known")
        return
    yield Finding("expected", "ok", f"counts by {expected.source}")
    for level in sorted({item.level for item in items}, key=str) or [None]:
        of_level = [item for item in items if item.level == level]
        for kind in ("label", "method"):
            for split, wanted in getattr(expected, f"{kind}s").items():
                of_split = [item for item in of_level if split == "all" or split in item.splits]
                names = Counter(getattr(item, kind) for item in of_split)
                title = " ".join(filter(None, (level, split, "by", kind)))
                yield _count(title, split, wanted, {name: names[name] for name in wanted}, expected)


def _count(title, split, wanted, found, expected) -> Finding:
    if found == wanted:
        return Finding("counts", "ok", f"{title}: {_listed(found)}, as expected", count=sum(found.values()))
    if not any(found.values()):
        return Finding("counts", "warning", f"{title}: nothing on disk of {sum(wanted.values())} videos")
    cases = [f"{name} {found[name]} of {number}" for name, number in wanted.items() if found[name] != number]
    splits_are_known = {*expected.labels, *expected.methods} - {"all"}
    few = all(0 <= number - found[name] <= MAX_MISSING * number for name, number in wanted.items())
    status: Status = "warning" if few or (split == "all" and splits_are_known) else "problem"
    off = sum(abs(number - found[name]) for name, number in wanted.items())
    return Finding("counts", status, f"{title}: {', '.join(cases)}", "find the missing or surplus videos", off)


def _few(items) -> Iterator[Finding]:
    """The splits with too few videos for the figures that are made of them."""
    for split, consequence in (("val", "they hardly tell which epoch is best"), ("test", "they rank no detectors")):
        fakes = [item.fake for item in items if split in item.splits]
        if fakes and (few := enough.few_videos(fakes.count(False), fakes.count(True), consequence)):
            yield Finding(VIDEOS, "warning", f"{split} has {few}", count=len(fakes))


# --- frames and images ------------------------------------------------------------------------------------------------


def _frames(items, used, videos, frames) -> Iterator[Finding]:
    there = {item.path for item in items if len(item.frames)}
    empty = sorted({item.path for item in (*items, *videos) if item.splits} - there)
    if empty:
        many = len(empty) > MAX_MISSING * (len(empty) + len(used))
        found = f"{len(empty)} videos have none"
        yield _finding("faces", "problem" if many else "warning", found, empty, "see why in the manifest")
    if not used:
        yield Finding("faces", "problem", "no video of a split has any", "preprocess the dataset")
        return
    lengths = [len(item.frames) for item in used]
    span = f"{min(lengths)} to {max(lengths)} a video, median {median(lengths):g}"
    few = [f"{item.path} ({len(item.frames)})" for item in used if len(item.frames) < frames]
    if few:
        found = f"{span}; {len(few)} of {len(used)} videos have fewer than {frames}"
        yield _finding("faces", "warning", found, few, "their scores are means over fewer frames")
    else:
        yield Finding("faces", "ok", span, count=sum(lengths))


def _images(checked: list[CheckedImages], size, quick) -> Iterator[Finding]:
    broken = [f"{file} ({reason})" for images in checked for file, reason in images.broken.items()]
    other = [f"{file} ({width}×{height})" for images in checked for file, (width, height) in images.sizes.items()]
    decoded = sum(images.decoded for images in checked)
    if broken:
        found = f"{len(broken)} of {len(broken) + decoded} cannot be decoded"
        yield _finding("images", "problem", found, broken, "preprocess these videos again")
    else:
        scope = "one a video" if quick else "all of them"
        yield Finding("images", "ok", f"{decoded} decoded, {scope}", count=decoded)
    if other:
        found = f"{len(other)} of {decoded} images are not {'square' if size == NATIVE else f'{size}×{size}'}"
        yield _finding("image size", "problem", found, other, f"preprocess these videos again with size {size}")


def _recipes(recipes: Counter, folders, checked: list[CheckedImages]) -> Finding:
    """Whether faces of a folder are cut differently: the datasets of a combination may each have its own choice."""
    of_folder: dict[str, Counter] = defaultdict(Counter)
    facts: dict[str, dict] = {}
    for folder, images in zip(folders, checked, strict=True):
        of_folder[folder] += images.recipes
        facts |= images.facts
    found = _listed(dict(recipes.most_common())) or "no image"
    ordered = [[name for name, _ in names.most_common()] for names in of_folder.values()]
    if told := "; ".join(filter(None, (departure(names, names[:1], facts) for names in ordered))):
        fix = "preprocess the whole dataset with one recipe"
        return Finding("recipes", "problem", f"{len(recipes)} are mixed ({told}): {found} images", fix, len(recipes))
    alike = "; some take other frames, all cut faces alike" if any(len(names) > 1 for names in ordered) else ""
    return Finding("recipes", "ok", f"images by recipe: {found}{alike}", count=len(recipes))


# --- what videos share ------------------------------------------------------------------------------------------------


def _duplicates(items, files, checked: list[CheckedImages], quick) -> Iterator[Finding]:
    """Images that are equal pixel by pixel in different splits, classes or videos."""
    within, splits, labels, others = 0, [], [], []
    for group in _equal(checked):
        first = {video: index for video, index in reversed(group)}
        within += len(group) - len(first)
        if len(first) == 1:
            continue
        videos = [items[video] for video in first]
        images = [(items[video], files[video][checked[video].indices[index]]) for video, index in sorted(first.items())]
        case = " = ".join(f"{item.path}/{file.name}" for item, file in images[:3])
        if len({video.splits for video in videos}) > 1:
            splits.append(case)
        if len({video.fake for video in videos}) > 1:
            labels.append(case)
        if len({(video.splits, video.fake) for video in videos}) == 1:
            others.append(case)
    fix = "take one of the two videos out"
    if splits:
        found = f"{len(splits)} images are in videos of different splits"
        yield _finding("duplicates across splits", "problem", found, splits, fix)
    if labels:
        found = f"{len(labels)} images are in a real and in a fake video"
        yield _finding("duplicates across labels", "problem", found, labels, fix)
    if others:
        found = f"{len(others)} images are in several videos of one split and class"
        yield _finding("duplicates between videos", "warning", found, others, "check whether a video is there twice")
    scope = "; only one image a video was compared" if quick else ""
    if not (splits or labels or others):
        yield Finding("duplicates", "ok", f"none between videos{scope}")
    if within:
        yield Finding("duplicates in a video", "ok", f"{within} images equal another of their video", count=within)


def _equal(checked: list[CheckedImages]) -> Iterator[list[tuple[int, int]]]:
    """Groups of equal images, each image as ``(video, index among its hashes)``."""
    hashes = np.concatenate([images.hashes for images in checked]) if checked else np.empty(0, np.uint64)
    starts = np.cumsum([0, *(len(images.hashes) for images in checked)])
    order = np.argsort(hashes, kind="stable")
    edges = np.flatnonzero(np.diff(hashes[order])) + 1
    bounds = np.r_[0, edges, len(order)]
    for group in np.flatnonzero(np.diff(bounds) > 1):
        members = order[bounds[group] : bounds[group + 1]]
        videos = np.searchsorted(starts, members, side="right") - 1
        yield list(zip(videos.tolist(), (members - starts[videos]).tolist(), strict=True))


def _leaks(dataset, items) -> Iterator[Finding]:
    """Videos, pairs and sources that two splits share; a leak into test is a problem unless it is published."""
    if dataset.combine:
        yield Finding("leakage", "ok", f"every video is in {' and '.join(dataset.combine.splits)}, as its YAML says")
        return
    clean = True
    for a, b in combinations(SPLITS, 2):
        status: Status = "problem" if b == "test" else "warning"
        videos = [item.path for item in items if {a, b} <= set(item.splits)]
        if videos:
            found = f"{len(videos)} videos are in both {a} and {b}"
            yield _finding("shared videos", status, found, videos, "give each one split")
        fix = "split by source; if the dataset is published so, state the overlap in its YAML"
        if dataset.overlaps:
            status, fix = "warning", "published, a fact of the dataset"
        pairs, sources = _parted_pairs(items, a, b), _shared_sources(items, a, b)
        if pairs:
            found = f"{len(pairs)} fakes and their reals are split between {a} and {b}"
            yield _finding("shared pairs", status, found, pairs, fix)
        if sources:
            yield _finding("shared sources", status, f"{len(sources)} sources are in {a} and {b}", sources, fix)
        clean = clean and not (videos or pairs or sources)
    if clean:
        yield _nothing_shared(items)


def _nothing_shared(items) -> Finding:
    """Splits share nothing that is known; of videos without a known source that says little."""
    if len({split for item in items for split in item.splits}) < 2:
        return Finding("leakage", "ok", "there is one split, which shares nothing with another")
    known, paired = sum(bool(item.ids) for item in items), any(item.pair for item in items)
    shared = f"splits share no {' or '.join(['video', *['pair'] * paired, *['source'] * bool(known)])}"
    if not known:
        found = f"{shared}; whether they share people is not known, for no source of a video is"
        return Finding("leakage", "warning", found, "name the sources in the dataset's YAML")
    return Finding("leakage", "ok", f"{shared}; {known} of {len(items)} videos have known sources", count=known)


def _parted_pairs(items, a, b) -> list[str]:
    """Fakes in one of two splits whose real is in the other, where no split has both."""
    real = {item.path: set(item.splits) for item in items if not item.fake}
    cases = []
    for item in items:
        splits, of_real = set(item.splits), real.get(item.pair, set())
        apart = (a in splits and b in of_real) or (b in splits and a in of_real)
        if apart and splits.isdisjoint(of_real):
            cases.append(f"{item.path} of {item.pair}")
    return cases


def _shared_sources(items, a, b) -> list[str]:
    """Sources with videos in both of two splits, each with one video of either."""
    first: dict[str, dict[str, str]] = {split: {} for split in (a, b)}
    for item in items:
        for split in {a, b} & set(item.splits):
            for source in item.ids:
                first[split].setdefault(source, item.path)
    return [
        f"{source} ({first[a][source]}, {first[b][source]})" for source in sorted(first[a].keys() & first[b].keys())
    ]


def _pairs(items, used, videos) -> Iterator[Finding]:
    """Fakes whose real is known and not on disk, fakes of unknown origin, and reals that nobody forged."""
    named = {item.path: item.pair for item in (*videos, *items) if item.pair}
    there = {item.path for item in items if len(item.frames) and not item.fake}
    fakes = [item.path for item in used if item.fake]
    lacking = [path for path in fakes if path in named and named[path] not in there]
    unknown = [path for path in fakes if path not in named]
    forged = {named[path] for path in fakes if path in named}
    alone = sum(not item.fake and item.path not in forged for item in used)
    whole = len(fakes) - len(lacking) - len(unknown)
    counts = f"{whole} fakes with their real, {alone} reals without a fake"
    train = {item.path for item in used if "train" in item.splits}
    if lacking:
        cases = [f"{path} of {named[path]}" for path in lacking]
        yield _without_pair(f"{len(lacking)} fakes lack the faces of their real", cases, not train.isdisjoint(lacking))
    if unknown:
        found = f"of {len(unknown)} fakes no real is known or on disk"
        yield _without_pair(found, unknown, bool(whole) and not train.isdisjoint(unknown))
    if whole or not fakes:
        yield Finding("pairs", "ok", counts, count=whole)


def _without_pair(found, cases, trained) -> Finding:
    fix = "paired training leaves them out" if trained else ""
    return _finding("pairs", "warning" if trained else "ok", found, cases, fix)


def _names(items: Iterable[Item]) -> Iterator[Finding]:
    """Videos of a split whose folders have one name: DeepfakeBench averages their frames into one video."""
    videos = defaultdict(list)
    for item in items:
        for split in item.splits:
            videos[split, item.level, PurePosixPath(item.path).name].append(item)
    merged = {tuple(item.path for item in group): group for group in videos.values() if len(group) > 1}
    if merged:
        mixed = sum(len({item.fake for item in group}) > 1 for group in merged.values())
        cases = [" = ".join(paths[:2]) for paths in merged]
        found = f"{len(merged)} names are of several videos, {mixed} of them real and fake"
        fix = "DeepfakeBench's video AUC takes each for one video; use lnclip-df test"
        yield _finding("names", "warning", found, cases, fix)
