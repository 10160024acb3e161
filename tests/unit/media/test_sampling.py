"""Which frames are looked at: against DeepfakeBench's formula, a loop that simulates, and whole videos."""

import json

import numpy as np
import pytest
from clips import faceless, portrait, run, write_clip
from embedding import needs_embedding
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lnclip_df.media.sampling import (
    evenly_spaced_floor,
    evenly_spaced_round,
    farthest_first,
    first_indices,
    randomly_drawn,
)

pytest.importorskip("retinaface")


@given(st.integers(0, 3000), st.integers(1, 64))
def test_sampled_indices_are_evenly_spaced_and_reach_both_ends(count, frames):
    indices = evenly_spaced_floor(count, frames)
    assert indices == sorted(set(indices)) and len(indices) == min(count, frames)
    if indices:
        assert indices[0] == 0 and indices[-1] == (count - 1 if frames > 1 else 0)
    gaps = np.diff(indices)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@given(st.integers(0, 400), st.integers(1, 64), st.integers(0, 2**63 - 1))
def test_drawn_frames_are_distinct_ordered_and_the_same_again(count, n, seed):
    chosen = randomly_drawn(range(count), n, seed, "UADFV/UADFV_Real/0000")
    assert len(chosen) == min(count, n) and list(chosen) == sorted(set(chosen))
    assert chosen == randomly_drawn(range(count), n, seed, "UADFV/UADFV_Real/0000")


def test_every_frame_is_drawn_equally_often():
    counts = np.zeros(40, int)
    for seed in range(500):
        for video in ("a", "b"):
            counts[list(randomly_drawn(range(40), 8, seed, video))] += 1
    expected, spread = 1000 * 8 / 40, np.sqrt(1000 * 0.2 * 0.8)
    assert np.abs(counts - expected).max() < 4.5 * spread


@given(count=st.integers(0, 400), n=st.integers(1, 64))
def test_evenly_spaced_frames_are_distinct_ordered_and_span_the_video(count, n):
    chosen = evenly_spaced_round(range(count), n)
    assert len(chosen) == min(count, n)
    assert list(chosen) == sorted(set(chosen))
    if count <= n:
        assert chosen == tuple(range(count))
    else:
        assert chosen[0] == 0
        assert n == 1 or chosen[-1] == count - 1
        ideal = [i * (count - 1) / max(n - 1, 1) for i in range(n)]
        assert np.abs(np.subtract(chosen, ideal)).max() < 0.5 + 1e-9


@given(st.integers(1, 100_000), st.integers(1, 400))
@example(300, 32)
def test_sampled_indices_are_deepfakebenchs(count, frames):
    reference = np.linspace(0, count - 1, frames, endpoint=True, dtype=int)
    assert evenly_spaced_floor(count, frames) == list(dict.fromkeys(reference.tolist()))


@given(st.integers(0, 5000), st.integers(1, 6000))
def test_a_stride_takes_every_nth_frame(count, stride):
    expected = [index for index in range(count) if index % stride == 0]
    assert first_indices(count, "fixed_stride", frames=3, stride=stride) == expected


def naive_farthest(count, taken):
    """Each time the frame whose nearest one taken is farthest away; the earliest of several."""
    taken, order = list(taken), []
    while len(taken) < count:
        others = [index for index in range(count) if index not in taken]
        best = max(others, key=lambda index: (min(abs(index - one) for one in taken), -index))
        order.append(best)
        taken.append(best)
    return order


@settings(max_examples=60)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))))
@example((1, {0}))
@example((60, {0}))
@example((60, {59}))
@example((41, {20}))
def test_farthest_first_is_the_naive_search(case):
    count, taken = case
    assert list(farthest_first(count, sorted(taken))) == naive_farthest(count, taken)


WITH_FACE = {3, 4, 5, 17, 30, 31, 38}


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """40 frames, of which those of ``WITH_FACE`` show a face."""
    frames = [portrait(index) if index in WITH_FACE else faceless() for index in range(40)]
    return write_clip(tmp_path_factory.mktemp("rare") / "rare.mp4", frames, options={"g": "10", "crf": "12"})


@pytest.mark.slow
@pytest.mark.parametrize("face", ["largest", pytest.param("track", marks=needs_embedding)])
@pytest.mark.parametrize("wanted", [2, 5, 7, 12])
@pytest.mark.parametrize("sampling", ["at_least", "from_middle"])
def test_more_frames_are_searched_until_enough_show_a_face(rare, tmp_path, wanted, face, sampling):
    looked = [20] if sampling == "from_middle" else [*first_indices(40, "at_least", wanted, 0)]
    for index in naive_farthest(40, looked):
        if len(WITH_FACE.intersection(looked)) >= wanted:
            break
        looked.append(index)
    found = WITH_FACE.intersection(looked)
    run(rare, tmp_path, sampling=sampling, frames=wanted, face=face)
    record = json.loads((tmp_path / "records" / "rare.json").read_text())
    assert record["asked"] == len(looked) and record["found"] == len(found) and record["decoded"] == 40
    assert record["saved"] == sorted(found)
    assert sorted(path.name for path in (tmp_path / "frames" / "rare").iterdir()) == [
        f"{i:03d}.png" for i in sorted(found)
    ]


def test_at_least_of_a_video_without_a_face_looks_at_everything_once(tmp_path):
    clip = write_clip(tmp_path / "none.mp4", [faceless(64, 96)] * 50)
    summary = run(clip, tmp_path / "out", sampling="at_least", frames=4)
    assert summary.failures == [("none", "no face in 50 frames")]


@pytest.mark.slow
def test_a_stride_and_a_number_choose_other_frames(rare, tmp_path):
    for options, saved in (
        ({"sampling": "fixed_stride", "stride": 17}, [17]),
        ({"sampling": "fixed_num_frames", "frames": 40}, sorted(WITH_FACE)),
    ):
        summary = run(rare, tmp_path / options["sampling"], **options)
        assert summary.results[0].saved == saved


@pytest.mark.slow
@needs_embedding
def test_what_does_not_fit_into_memory_is_decoded_again(rare, tmp_path, monkeypatch):
    from lnclip_df.faces import pipeline

    whole = run(rare, tmp_path / "whole", sampling="at_least", frames=5, face="track")
    monkeypatch.setattr(pipeline, "MAX_KEPT", 2 * portrait().nbytes)
    again = run(rare, tmp_path / "again", sampling="at_least", frames=5, face="track")
    assert again.results[0].saved == whole.results[0].saved
    for one, other in zip(whole.frame_paths()["rare"], again.frame_paths()["rare"], strict=True):
        assert one.read_bytes() == other.read_bytes()
