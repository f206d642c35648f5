"""Lips follow the phonemes."""

import numpy as np

from jax_avemo.synthetic.head import load_head
from jax_avemo.synthetic.lips import lip_motion, mouth_shape
from jax_avemo.synthetic.speech import Phoneme


def test_mouth_shapes():
    assert [mouth_shape(symbol) for symbol in ("m", "f", "ɑː", "iː", "uː", "t", "")] == [
        "closed",
        "lip to teeth",
        "open",
        "spread",
        "pursed",
        "tongue",
        "",
    ]


def test_jaw_opens_while_an_open_vowel_sounds():
    head = load_head()
    phonemes = (Phoneme("m", 0.0), Phoneme("ɑː", 0.3), Phoneme("", 0.8))
    motion = lip_motion(head, phonemes, 1.0, np.array([0.5, 1.15, 1.5, 2.5]))
    jaw = motion[:, head.unit_names.index("jawOpen")]
    assert jaw[2] > 0.4
    assert jaw[[0, 1, 3]].max() == 0
    assert motion[0].max() == motion[3].max() == 0
    assert motion[1, head.unit_names.index("mouthPressLeft")] > 0.3
