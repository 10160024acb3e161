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
    assert "<b>Probability of fake: 87.7%</b>" in card and "Score 0.700, not above the threshold of 0.750." in card
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
    assert "<h3>Person 2 (score 0.800)</h3>" in card and "<figcaption>0.50 s: 0.800</figcaption>" in card
    assert "3 people; the score is that of the most suspicious one. Not shown: 3: 0.700." in card
    assert card.count('src="data:image/jpeg;base64,') == 4
    data = json.loads(base64.b64decode(re.search(r'application/json;base64,([^"]+)', card)[1]))
    assert (data["path"], data["key"], len(data["persons"])) == ("x.mp4", 7, 3)
