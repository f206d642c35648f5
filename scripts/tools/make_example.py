"""The page's example film: takes of one actor of the demo corpus, dissolved into each other.

avemo demo demo --actors 4 --takes 1 --seed 0
python scripts/tools/make_example.py demo jax_avemo/web/static/example.mp4
"""

import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from jax_avemo.media.decoding.decode import read_media
from jax_avemo.schema import AUDIO_SAMPLE_RATE

EMOTION_CODES = ("03", "05", "04", "08")
"""Happy, angry, sad, surprised, in RAVDESS's numbers."""
ACTOR, SIDE, FRAMES_PER_SECOND, DISSOLVE_FRAMES = "Actor_02", 320, 12, 14
"""The film dissolves, for a hard cut would make another face of the same actor."""


def main() -> None:
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    frames: list[np.ndarray] = []
    audio = np.zeros(0, np.int16)
    for code in EMOTION_CODES:
        (path, *_) = sorted(folder.rglob(f"{ACTOR}/01-01-{code}-*.mp4"))
        media = read_media(path, frames_per_second=FRAMES_PER_SECOND)
        shown = [cv2.resize(frame.image, (SIDE, SIDE)) for frame in media.frames]
        overlap = min(DISSOLVE_FRAMES, len(frames))
        for index in range(overlap):
            share = (index + 1) / (overlap + 1)
            before = frames[len(frames) - overlap + index]
            frames[len(frames) - overlap + index] = cv2.addWeighted(
                before, 1 - share, shown[index], share, 0
            )
        begin = round((len(frames) - overlap) / FRAMES_PER_SECOND * AUDIO_SAMPLE_RATE)
        frames += shown[overlap:]
        whole = np.zeros(max(len(audio), begin + len(media.audio)), np.int32)
        whole[: len(audio)] += audio
        whole[begin : begin + len(media.audio)] += media.audio
        audio = np.clip(whole, -32768, 32767).astype(np.int16)
    write(target, frames, audio)


def write(target: Path, frames: list[np.ndarray], audio: np.ndarray) -> None:
    """An mp4 with H.264 and AAC, small enough to lie beside the page."""
    with av.open(str(target), "w", options={"movflags": "+faststart"}) as container:
        film = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        film.width = film.height = SIDE
        film.pix_fmt = "yuv420p"
        film.options = {"crf": "26", "preset": "veryslow"}
        sound = container.add_stream("aac", rate=AUDIO_SAMPLE_RATE, layout="mono")
        sound.bit_rate = 40_000
        for image in frames:
            container.mux(film.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(film.encode())
        for first in range(0, len(audio), 1024):
            block = (audio[first : first + 1024] / np.float32(32768))[None].astype(np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = AUDIO_SAMPLE_RATE, first
            frame.time_base = Fraction(1, AUDIO_SAMPLE_RATE)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())


if __name__ == "__main__":
    main()
