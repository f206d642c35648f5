"""What is kept of a film's windows: shots from cut to cut."""

from jax_avemo.data.windows import Window
from jax_avemo.inference.collect import Collected


def test_shots_reach_from_cut_to_cut_and_the_last_to_the_end():
    collected = Collected()
    assert collected.shots() == ()
    for start, end, shot_start in [(0, 2, 0), (1, 3, 0), (3, 4, 3), (4, 6, 4), (5, 7, 4)]:
        window = Window(float(start), float(end), (), False, {}, 0, float(shot_start))
        collected.add(window, [])
    assert collected.shots() == ((0.0, 3.0), (3.0, 4.0), (4.0, 7.0))
