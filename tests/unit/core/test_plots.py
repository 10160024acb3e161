"""The palette of all pictures: any two colours can be told apart, by colour-blind readers too, on their background."""

from itertools import combinations

import numpy as np
import pytest

from lnclip_df.core.plots import DARK, DASHES, LIGHT, series_style

# Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009): of linear RGB, at full severity.
SEEN_BY = {
    "everybody": np.eye(3),
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
BACKGROUNDS = {LIGHT: "#ffffff", DARK: "#14171b"}  # the page's


def linear(colour):
    value = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def seen(colour, by):
    value = np.clip(np.array(SEEN_BY[by]) @ linear(colour), 0, 1)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("by", SEEN_BY)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_any_two_colours_can_be_told_apart(palette, by):
    color = pytest.importorskip("skimage.color")
    colours = [palette.real, palette.fake, *palette.series]
    for one, other in combinations(colours, 2):
        distance = color.deltaE_ciede2000(color.rgb2lab(seen(one, by)), color.rgb2lab(seen(other, by)))
        assert distance >= 10, (one, other)  # 2.3 is just noticeable


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_stands_out_from_its_background(palette):
    for colour in (palette.real, palette.fake, *palette.series):
        assert contrast(colour, BACKGROUNDS[palette]) >= 3  # WCAG 2.2, 1.4.11: of what is no text


def test_colours_that_repeat_have_another_line_style():
    styles = [tuple(series_style(number).values()) for number in range(len(LIGHT.series) * len(DASHES))]
    assert len(set(styles)) == len(styles)
