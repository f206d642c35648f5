import itertools

import numpy as np
import pytest
from skimage import color

from jax_avemo.palette import EMOTION_COLOURS, FURTHER_COLOURS, colours_of, in_order, rgb_of
from jax_avemo.schema import RAVDESS_EMOTIONS

# Machado, Oliveira and Fernandes 2009, table 1, severity 1, on linear RGB.
SIGHTS = {
    "every cone": np.eye(3),
    "no long cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no middle cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no short cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour: str) -> np.ndarray:
    share = np.array(rgb_of(colour)) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def companded(rgb: np.ndarray) -> np.ndarray:
    rgb = np.clip(rgb, 0, 1)
    return np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("sight", SIGHTS)
def test_two_emotions_are_told_apart_by_every_kind_of_colour_sight(sight):
    seen = companded(
        np.array([linear(c) for c in EMOTION_COLOURS.values()]) @ np.transpose(SIGHTS[sight])
    )
    lab = color.rgb2lab(seen[None])[0]
    differences = [color.deltaE_ciede2000(a, b) for a, b in itertools.combinations(lab, 2)]
    assert min(differences) > 15


@pytest.mark.parametrize("colour", [*EMOTION_COLOURS.values(), *FURTHER_COLOURS])
@pytest.mark.parametrize(("paper", "least"), [("#fdfdfb", 1.9), ("#16181c", 2.5)])
def test_every_colour_stands_out_on_light_and_dark(colour, paper, least):
    weights = np.array([0.2126, 0.7152, 0.0722])
    dark, light = sorted(float(linear(c) @ weights) for c in (colour, paper))
    assert (light + 0.05) / (dark + 0.05) > least


def test_every_emotion_of_the_corpora_has_a_colour_of_its_own():
    assert tuple(EMOTION_COLOURS) == RAVDESS_EMOTIONS
    assert len({*EMOTION_COLOURS.values(), *FURTHER_COLOURS}) == len(RAVDESS_EMOTIONS) + 4


def test_the_order_is_ravdess_and_others_come_last_by_name():
    assert in_order(["boredom", "surprise", "anger", "Calm", "awe", "neutral"]) == (
        "neutral",
        "Calm",
        "anger",
        "surprise",
        "awe",
        "boredom",
    )


def test_a_colour_belongs_to_the_emotion_whatever_it_is_called_and_wherever_it_stands():
    colours = dict(
        zip(["boredom", "anger", "sad"], colours_of(["boredom", "anger", "sad"]), strict=True)
    )
    assert colours["anger"] == EMOTION_COLOURS["angry"]
    assert colours["sad"] == EMOTION_COLOURS["sad"]
    assert colours["boredom"] == FURTHER_COLOURS[0]
    assert colours_of(["awe", "boredom"]) == FURTHER_COLOURS[:2]


def test_a_colour_as_numbers():
    assert rgb_of("#ff8000") == (255, 128, 0)
