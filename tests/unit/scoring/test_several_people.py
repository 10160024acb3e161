"""What is said of videos with several people follows from the numbers: who is mixed, who is brief, what is weak."""

import sys

import pytest
from clips import cv2, run, write_clip
from commands import call
from embedding import needs_embedding
from scored_clips import FRAMES, NOBODY, beside, of, person

from lnclip_df.faces.tracking import shared_embedding
from lnclip_df.scoring.results import SCORED, FrameScore, Person, Result

pytest.importorskip("retinaface")


def made(*persons, frames=32, people=None, level=120.0):
    """A result of persons, each ``(number of frames, probability, brief)``."""
    persons = [
        Person(number, [FrameScore(at, None, None, prob, level=level) for at in range(seen)], brief)
        for number, (seen, prob, brief) in enumerate(persons, 1)
    ]
    people = len(persons) if people is None else people
    return Result("x", SCORED, score=persons[0].score, frames=frames, decoded=99, persons=persons, people=people)


def test_a_whole_score_of_one_person_has_no_note():
    assert made((32, 0.5, False)).notes == made((16, 0.5, False)).notes == made((1, 0.5, False), frames=1).notes == []
    assert Result("x", "no face", "no face in 32 frames", frames=32).notes == []


def test_few_and_dark_frames_are_noted():
    assert made((4, 0.5, False)).notes == ["the score rests on 4 of 32 frames"]
    dark = "4 of them with a dark face (mean level below 32 of 255)"
    assert made((4, 0.5, False), level=20.0).notes == [f"the score rests on 4 of 32 frames, {dark}"]
    assert made((30, 0.5, False), level=31.9).notes[0].startswith("the score rests on 30 of 32 frames, 30 of them")


def test_a_higher_score_that_does_not_count_is_noted_and_a_lower_one_is_not():
    assert made((32, 0.5, False), (2, 0.3, True)).notes == []
    assert made((32, 0.5, False), (30, 0.3, False), (2, 0.91, True)).notes == [
        "person 3 has a higher score (0.91), but is seen in only 2 of 32 frames and does not count"
    ]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two unlike people in turn with cuts between; beside each other, the larger one changing; one of them."""
    folder = tmp_path_factory.mktemp("films")
    takes = {
        "turns": person(7)[:3] + person(53)[3:5] + person(7)[5:],
        "beside": beside(person(7), NOBODY)[:1] + beside(person(7), person(53))[1:],
        "alone": person(7),
    }
    for name, frames in takes.items():
        write_clip(folder / f"{name}.mp4", frames, options={"crf": "10"})
    return folder


@pytest.mark.slow
@needs_embedding
def test_the_largest_faces_of_two_people_are_noted_and_track_follows_who_is_seen_most(
    scorer, weights, films, monkeypatch
):
    mixed = of(scorer, films / "turns.mp4")
    assert mixed.people == 2 and len(mixed.persons) == 1 and len(mixed.persons[0].frames) == FRAMES
    assert mixed.notes == ["the largest face is not always the same person's; the score mixes 2 people"]
    track = of(scorer, films / "turns.mp4", face="track")
    assert [frame.index for frame in track.persons[0].frames] == [0, 1, 2, 5, 6, 7]
    assert track.people == 1 and track.notes == []
    everybody = of(scorer, films / "turns.mp4", all_faces=True)
    assert sorted(len(found.frames) for found in everybody.persons) == [2, 6] and everybody.people == 2
    assert len({mixed.recipe, track.recipe, everybody.recipe}) == 3
    said = call("predict", films, "--weights", weights, "--frames", FRAMES, "--quiet")
    assert "2 of 3 files mix the faces of several people: --face track follows the one seen most" in said.stderr
    one = of(scorer, films / "alone.mp4")
    assert one.people == 1 and one.notes == []
    shared_embedding.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)
    assert of(scorer, films / "turns.mp4").people == 1  # nobody is seen with another
    assert of(scorer, films / "alone.mp4").people == 1


@pytest.mark.slow
def test_preprocessing_says_where_two_are_seen_together_and_both_are_cut_out(films, tmp_path):
    def smaller(frame, by):  # by so many pixels on every side
        return cv2.copyMakeBorder(cv2.resize(frame, (240 - 2 * by, 200 - 2 * by)), by, by, by, by, cv2.BORDER_REPLICATE)

    left, right = person(7), person(53)
    shrinking = [smaller(frame, 4 * at) for at, frame in enumerate(left)]
    growing = [smaller(frame, 28 - 4 * at) for at, frame in enumerate(right)]
    frames = beside(shrinking, growing)
    write_clip(films / "changes" / "changes.mp4", frames, options={"crf": "10"})
    write_clip(films / "changes" / "alone.mp4", left, options={"crf": "10"})
    summary = run(films / "changes", tmp_path / "out", frames=FRAMES)
    assert {record.key: record.people for record in summary.results} == {"alone": 1, "changes": 2}
    said = call("preprocess", films / "changes", "--out", tmp_path / "out", "--frames", FRAMES, "--quiet")
    assert said.stderr.startswith("--face track cuts out the person seen most") and said.exit_code == 0
    said = call("preprocess", films / "turns.mp4", "--out", tmp_path / "turns", "--frames", FRAMES, "--quiet")
    assert "--face" not in said.output  # nobody is seen with another
    assert summary.mixed == ["changes"] and "faces of several people in 1 videos, such as changes" in summary.report()
