"""Cards show the probability of a calibrated result, and escape everything that comes from a file."""

import re

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
