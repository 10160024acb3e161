"""Paired and unpaired training sets: of one size and mix, with every real or with none, whatever the order and seed."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnclip_df.config.loading import load_config
from lnclip_df.core.errors import LNCLIPError
from lnclip_df.datasets.dataset_json import read_videos
from lnclip_df.datasets.items import Item
from lnclip_df.datasets.pairs import split_pairs, write_pairs

METHODS = {"FF-DF": "Deepfakes", "FF-F2F": "Face2Face"}


def real(name, ids=None):
    return Item(f"set/real/{name}", "FF-real", False, ("train",), name, "c23", ids=(name,) if ids is None else ids)


def fake(target, source="900", label="FF-DF", pair=True):
    path, name = f"set/{label}/{target}_{source}", f"{target}_{source}"
    made_from = f"set/real/{target}" if pair else None
    return Item(path, label, True, ("train",), name, "c23", METHODS.get(label, label), made_from, (target, source))


def faceforensics(pairs, labels=tuple(METHODS)):
    """``pairs`` of targets, each of which gives its face to the other, by every method."""
    names = [f"{name:03d}" for name in range(2 * pairs)]
    swaps = [(a, b) for pair in zip(names[::2], names[1::2], strict=True) for a, b in (pair, pair[::-1])]
    return [*map(real, names), *(fake(*swap, label) for label in labels for swap in swaps)]


@st.composite
def training_sets(draw):
    """Reals and fakes of up to three methods, some reals never forged and some fakes of unknown origin."""
    names = [f"{name:03d}" for name in range(draw(st.integers(2, 12)))]
    targets = st.sampled_from([*names, "777"])
    drawn = draw(st.sets(st.tuples(targets, st.sampled_from([*names, "888"]), st.sampled_from("ABC")), max_size=40))
    items = [*map(real, names), *(fake(*each, pair=each[0] != "777") for each in sorted(drawn))]
    return draw(st.permutations(items))


def check(items, subsets, strict):
    """Everything that the two subsets promise."""
    fakes, paired, unpaired = subsets
    assert fakes and {item.path for item in (*fakes, *paired, *unpaired)} <= {item.path for item in items}
    assert all(item.fake for item in fakes) and not any(item.fake for item in (*paired, *unpaired))
    assert len(paired) == len(unpaired) == len(set(paired)) == len(set(unpaired)) == len({f.pair for f in fakes})
    assert {item.pair for item in fakes} == {item.path for item in paired}
    assert not {item.pair for item in fakes} & {item.path for item in unpaired}
    if strict:
        assert not {source for item in fakes for source in item.ids} & {s for item in unpaired for s in item.ids}


@given(training_sets(), st.integers(0, 3), st.booleans())
def test_every_fake_has_its_real_in_the_paired_subset_and_none_in_the_unpaired_one(items, seed, strict):
    try:
        subsets = split_pairs(items, seed=seed, strict=strict)
    except LNCLIPError:
        assert strict or not any(item.pair for item in items)
    else:
        check(items, subsets, strict)


@pytest.mark.slow
@given(training_sets(), st.integers(0, 3), st.booleans(), st.randoms())
def test_the_order_of_the_input_does_not_matter(items, seed, strict, random):
    shuffled = random.sample(items, len(items))
    try:
        expected = split_pairs(items, seed=seed, strict=strict)
    except LNCLIPError:
        with pytest.raises(LNCLIPError):
            split_pairs(shuffled, seed=seed, strict=strict)
    else:
        assert split_pairs(shuffled, seed=seed, strict=strict) == expected


@pytest.mark.slow
@given(training_sets(), st.integers(0, 3))
def test_there_are_as_many_reals_as_the_identities_allow_each_with_all_its_fakes(items, seed):
    forged = {item.pair for item in items} - {None}
    reals = sum(not item.fake for item in items)
    if forged:
        fakes, paired, _ = split_pairs(items, seed=seed)
        assert len(paired) == min(len(forged), reals // 2)
        assert {item.path for item in fakes} == {item.path for item in items if item.pair in {r.path for r in paired}}


def test_strict_keeps_half_of_faceforensics_too():
    items = faceforensics(pairs=36)
    for strict in (False, True):
        subsets = split_pairs(items, strict=strict)
        check(items, subsets, strict)
        assert (len(subsets.paired), len(subsets.fakes)) == (36, 72)


def test_without_strict_the_donor_may_be_among_the_reals():
    items = [real("000"), real("001"), fake("000", "001")]
    assert split_pairs(items).unpaired == [real("001")]
    with pytest.raises(LNCLIPError, match=r"2 reals and 1 fakes made from them: too few .* strictly unpaired subset"):
        split_pairs(items, strict=True)


def test_strict_holds_where_few_persons_are_in_everything():
    people = [f"id{n}" for n in range(12)]
    reals = [replace(real(f"{a}_{k}"), ids=(a,)) for a in people for k in range(4)]
    fakes = [replace(fake(f"{a}_{k}", b), ids=(a, b)) for a in people for b in people for k in range(4) if a != b]
    free = [replace(real(f"free{k}"), ids=()) for k in range(10)]
    items = [*reals, *fakes, *free]
    subsets = split_pairs(items, strict=True)
    check(items, subsets, strict=True)
    assert len(subsets.paired) == 28  # 7 persons of 12 against 5 and the free ones


def test_seeds_draw_different_identities():
    items = faceforensics(pairs=20)
    assert len({tuple(item.path for item in split_pairs(items, seed=seed).paired) for seed in range(5)}) == 5


def test_reals_that_nobody_forged_go_to_the_unpaired_subset():
    items = [*(real(f"{n:03d}") for n in range(6)), *(fake(f"{n:03d}") for n in range(3))]
    fakes, paired, unpaired = split_pairs(items)
    assert [item.name for item in paired] == ["000", "001", "002"] and len(fakes) == 3
    assert [item.name for item in unpaired] == ["003", "004", "005"]


@pytest.mark.parametrize(
    ("items", "strict", "message"),
    [
        ([], False, "has 0 reals and 0 fakes made from them: too few for a paired and an unpaired subset"),
        ([real("000"), fake("000")], False, "has 1 reals and 1 fakes made from them"),
        ([real("000"), real("001"), fake("005")], False, "has 2 reals and 0 fakes made from them"),
        (
            [real("0"), real("1"), replace(fake("0"), ids=())],
            True,
            "strict needs every fake's sources, and 1 have none",
        ),
    ],
)
def test_too_little_data_says_how_much_there_is(items, strict, message):
    with pytest.raises(LNCLIPError, match=message):
        split_pairs(items, strict=strict)


# --- the files --------------------------------------------------------------------------------------------------------


def write_json(root, items, dataset, level="c23", val=()):
    """The dataset JSON of ``items``, all in train, with one frame each; ``val`` are further reals."""
    content = {}
    for split, group in (("train", items), ("val", [real(name) for name in val])):
        for item in group:
            splits = content.setdefault(item.label, {s: {level: {}} if level else {} for s in ("train", "val", "test")})
            records = splits[split][level] if level else splits[split]
            records[item.name] = {"label": item.label, "frames": [f"./rgb/{item.path}/frames/000.png"], "extra": 1}
    folder = root / "preprocessing" / "dataset_json"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{dataset}.json"
    file.write_text(json.dumps({dataset: content}))
    return file


@pytest.mark.parametrize(("dataset", "level"), [("FaceForensics++", "c23"), ("other", None)])
def test_both_files_are_read_under_their_own_names(tmp_path, dataset, level):
    items = faceforensics(pairs=6)
    file = write_json(tmp_path, items, dataset, level, val=["500"])
    summary = write_pairs(file, [replace(item, level=level) for item in items])
    assert summary.reals == 6 and summary.fakes == {"Deepfakes": 6, "Face2Face": 6} and summary.left_out == 0
    config = load_config("lnclip.yaml", [f"lnclip.data_root={tmp_path}"])
    found = {kind: read_videos(config, [f"{dataset}-{kind}"], "train") for kind in ("paired", "unpaired")}
    mixes = {kind: Counter(video.label_name for video in videos) for kind, videos in found.items()}
    assert mixes["paired"] == mixes["unpaired"] == {"FF-real": 6, "FF-DF": 6, "FF-F2F": 6}
    for kind, videos in found.items():
        reals = {video.name for video in videos if not video.label}
        targets = {video.name.split("_")[0] for video in videos if video.label}
        assert targets == reals if kind == "paired" else targets.isdisjoint(reals)
        assert [video.name for video in read_videos(config, [f"{dataset}-{kind}"], "val")] == ["500"]
        content = json.loads((file.parent / f"{dataset}-{kind}.json").read_text())[f"{dataset}-{kind}"]
        assert content["FF-real"]["val"]["500"]["extra"] == 1 and content["FF-DF"]["test"] == {}


def test_the_files_are_the_same_for_one_seed_whatever_the_order(tmp_path):
    items = faceforensics(pairs=8)
    written = []
    for folder, order in (("a", items), ("b", items[::-1])):
        summary = write_pairs(
            write_json(tmp_path / folder, order, "FF-DF"), order, out=tmp_path / folder / "out", seed=3
        )
        written.append((summary.paired.read_bytes(), summary.unpaired.read_bytes()))
    assert written[0] == written[1]


def test_of_several_levels_the_chosen_one_is_taken(tmp_path):
    items = faceforensics(pairs=2)
    file = write_json(tmp_path, items, "FF-DF")
    text = json.loads(file.read_text())
    for splits in text["FF-DF"].values():
        for split in splits.values():
            split["c40"] = {}
    file.write_text(json.dumps(text))
    both = [*items, *(replace(item, level="c40", path=f"{item.path}-c40") for item in items)]
    assert write_pairs(file, both).reals == 2
    with pytest.raises(LNCLIPError, match=r"FF-DF.json has 0 reals"):
        write_pairs(file, both, compression="c40")
    with pytest.raises(LNCLIPError, match=r"FF-DF.json: no FF-DF.FF-real.train.raw; there is c23, c40"):
        write_pairs(file, both, compression="raw")


def test_fakes_without_their_real_are_left_out_and_counted(tmp_path):
    items = [*faceforensics(pairs=2), fake("700"), fake("701", pair=False)]
    summary = write_pairs(write_json(tmp_path, items, "FF-DF"), items)
    assert summary.left_out == 2
    assert str(summary).endswith(
        "2 reals and 4 fakes each (Deepfakes 2, Face2Face 2); 2 fakes without their real left out"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": {}}, r"FF-DF.json: no FF-DF; there is other"),
        ([], r"FF-DF.json: no FF-DF"),
        ({"FF-DF": {"FF-real": {"train": [1]}}}, r"FF-DF.FF-real.train is \[1\], not a mapping of videos"),
        ({"FF-DF": {"FF-real": {"train": {"a": 1}}}}, r"FF-DF.FF-real.train is .* not a mapping of videos"),
        ({"FF-DF": {"FF-real": 3}}, r"FF-DF.json has 0 reals and 0 fakes"),
        (
            {"FF-DF": {"FF-real": {"train": {"9": {"label": "FF-real", "frames": []}}}}},
            r"1 of 1 training videos are not on disk as it says, FF-real/9 first; rearrange again",
        ),
    ],
)
def test_an_invalid_json_is_one_line_and_nothing_is_written(tmp_path, content, message):
    file = tmp_path / "FF-DF.json"
    file.write_text(json.dumps(content))
    with pytest.raises(LNCLIPError, match=message):
        write_pairs(file, faceforensics(pairs=2))
    assert list(tmp_path.iterdir()) == [file]


def test_an_absent_json_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(LNCLIPError, match=r"no dataset file .*FF-DF\.json; write it with lnclip-df rearrange"):
        write_pairs(tmp_path / "absent" / "FF-DF.json", faceforensics(pairs=2))


def test_deepfakebench_reads_both_files(tmp_path, monkeypatch, deepfakebench):
    items = faceforensics(pairs=6)
    write_pairs(write_json(tmp_path, items, "FaceForensics++"), items)
    monkeypatch.chdir(tmp_path)
    for kind, expected in (("paired", True), ("unpaired", False)):
        config = load_config("lnclip.yaml", ["lnclip.data_root=.", f"train_dataset=[FaceForensics++-{kind}]"])
        videos = deepfakebench(config, mode="train")
        names = [path.split("/")[-3] for path in videos.image_list]
        reals = {name for name, label in zip(names, videos.label_list, strict=True) if label == 0}
        targets = {name.split("_")[0] for name, label in zip(names, videos.label_list, strict=True) if label == 1}
        assert len(names) == 18 and (targets == reals) is expected and (targets & reals != set()) is expected
