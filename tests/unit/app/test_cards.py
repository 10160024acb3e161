"""Cards show scores, faces and JSON, and escape everything that comes from a file."""

import base64
import json
import re

import numpy as np
from clips import portrait

from lnclip_df.app.cards import message_card, result_card
from lnclip_df.scoring.results import FrameScore, Person, Result


def test_a_calibrated_result_shows_its_probability_and_its_threshold():
    person = Person(1, [FrameScore(0, None, None, 0.7, portrait()[:32, :32])])
    result = Result("x.png", "scored", score=0.7, calibrated=0.877, threshold=0.75, decoded=1, persons=[person])
    card = result_card(result, [])
    assert "<b>Probability of fake: 87.7%</b>" in card and "P(fake) 0.700, not above the threshold of 0.750." in card
    assert "No signs of manipulation found" in card and "Not calibrated" not in card


def test_a_hostile_name_is_escaped_in_every_place():
    hostile = "\"'><img src=x onerror=alert(1)>${alert(1)}{{value}}`\x1b[2J.mp4"
    for made in (result_card(Result(hostile, "unreadable", hostile), []), message_card(hostile)):
        shown = re.sub(r'href="data:[^"]*"', "", made)
        assert "<img" not in shown and not set("${}`\x1b") & set(shown) and shown.count('"') % 2 == 0


def test_a_card_shows_the_faces_of_some_people_and_the_scores_of_all():
    people = [Person(number, [FrameScore(0, 0.5, None, 1 - number / 10, portrait()[:32, :32])]) for number in (1, 2, 3)]
    result = Result("x.mp4", "scored", score=0.9, frames=1, decoded=25, persons=people, seconds=1.0)
    card = result_card(result, [(person, [(person.frames[0], np.ones((4, 4)))]) for person in people[:2]], {"key": 7})
    assert "<h2>Signs of manipulation</h2>" in card and "Not calibrated" in card
    assert "Mean over the face in 1 of 1 frames searched (the video has 25, 1.0 s)." in card
    assert "<h3>Person 2: P(fake) 0.800 in 1 of 1 frames</h3>" in card
    assert "<figcaption>0.50 s: P(fake) 0.800</figcaption>" in card
    assert "3 people, told apart by their faces. The score is the highest of those who count." in card
    assert "Not shown: person 3 0.700." in card
    assert card.count('src="data:image/jpeg;base64,') == 4
    data = json.loads(base64.b64decode(re.search(r'application/json;base64,([^"]+)', card)[1]))
    assert (data["path"], data["key"], len(data["persons"])) == ("x.mp4", 7, 3)


def test_a_face_without_a_heat_map_is_shown_alone():
    person = Person(1, [FrameScore(0, 0.5, None, 0.9, portrait()[:32, :32])])
    result = Result("x.mp4", "scored", score=0.9, frames=1, decoded=25, persons=[person], seconds=1.0)
    card = result_card(result, [(person, [(person.frames[0], None)])])
    assert card.count('src="data:image/jpeg;base64,') == 1 and "Heat map" not in card


def test_a_card_says_who_is_seen_too_briefly_and_what_weakens_the_score():
    frames = [FrameScore(at, at / 25, None, 0.3, portrait()[:32, :32], level=20.0) for at in range(4)]
    brief = Person(2, [FrameScore(0, 0.0, None, 0.9, portrait()[:32, :32])], brief=True)
    persons = [Person(1, frames), brief]
    card = result_card(Result("x.mp4", "scored", score=0.3, frames=32, decoded=99, persons=persons, people=2), [])
    assert "Note: the score rests on 4 of 32 frames, 4 of them with a dark face (mean level below 32 of 255)." in card
    higher = "person 2 has a higher score (0.90), but is seen in only 1 of 32 frames and does not count."
    assert f"Note: {higher}" in card and "1 of them seen too briefly to count. The score" in card
    assert "Not shown: person 1 0.300, person 2 (brief) 0.900." in card
