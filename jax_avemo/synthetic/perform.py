"""Performance of a take: parameters and an actor to frames and audio."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jax_avemo.synthetic.face import Camera, Light, Pose, Scene, draw_face
from jax_avemo.synthetic.head import Head, unit_vector
from jax_avemo.synthetic.lips import lip_motion
from jax_avemo.synthetic.look import Look
from jax_avemo.synthetic.style import Style
from jax_avemo.synthetic.take import STATEMENTS, Take
from jax_avemo.synthetic.voice import Voice, speak

FRAMES_PER_SECOND = 12
FRAME_SIZE = 224
_ORDINARY_LEVEL = 0.08
_BLINK_PERIOD_SECONDS = 2.1
_BLINK_HALF_SECONDS = 0.12
_SPEECH_WEAKENS_MOUTH = 0.4
"""While the lips speak, they show this much less of the expression."""


@dataclass(frozen=True)
class Performance:
    """RGB frames at FRAMES_PER_SECOND and mono sound in [-1, 1] of the same length."""

    frames: UInt8[np.ndarray, "F S S 3"]
    sound: Float[np.ndarray, "N"]
    sample_rate: int


def perform(
    head: Head, look: Look, style: Style, take: Take, rng: np.random.Generator
) -> Performance:
    """Act out `take`: `rng` moves the head, shakes the voice and makes the noise."""
    voice = Voice(style.voice, take.pitch_hz, take.vocal_tract)
    spoken = speak(STATEMENTS[take.statement], voice, take.prosody, rng)
    rate = spoken.sample_rate
    before, after = (np.zeros(int(s * rate), np.float32) for s in take.silence_seconds)
    sound = np.concatenate([before, spoken.samples, after])
    sound = _through_microphone(sound, rate, take)
    noise = np.convolve(rng.normal(0, 1, len(sound)), [1, take.noise_colour], "same")
    sound = sound + _ORDINARY_LEVEL * 10 ** (take.noise_db / 20) * noise / noise.std()

    count = int(len(sound) / rate * FRAMES_PER_SECOND)
    times = np.arange(count) / FRAMES_PER_SECOND
    lips = lip_motion(head, spoken.phonemes, take.silence_seconds[0], times)
    units = _unit_track(head, style, take, lips, times)
    frames = _film(head, look, take, units, rng)
    sound = sound[: round(count / FRAMES_PER_SECOND * rate)]
    return Performance(frames, np.clip(sound, -1, 1).astype(np.float32), rate)


def _through_microphone(sound: np.ndarray, rate: int, take: Take) -> np.ndarray:
    """Gain, tilt and bumps of the microphone's frequency response; no phase is changed."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(sound), 1 / rate), 60) / 1000)
    response_db = take.microphone_gain_db + take.microphone_tilt * octaves
    for centre, height in take.microphone_bumps:
        response_db = response_db + height * np.exp(-0.5 * ((octaves - centre) / 0.5) ** 2)
    return np.fft.irfft(np.fft.rfft(sound) * 10 ** (response_db / 20), len(sound))


def _unit_track(
    head: Head, style: Style, take: Take, lips: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Strength of every face unit in every frame, [F, U]."""
    sides = np.array(
        [
            style.asymmetry[0]
            if name.endswith("Left")
            else style.asymmetry[1]
            if name.endswith("Right")
            else 1.0
            for name in head.unit_names
        ],
        np.float32,
    )
    of_mouth = np.array([name.startswith(("jaw", "mouth")) for name in head.unit_names])
    share = (np.arange(len(times)) + 0.5) / len(times)
    swell = 0.7 + 0.3 * np.exp(-0.5 * ((share - take.peak) / 0.28) ** 2)
    acted = swell[:, None] * unit_vector(head, take.expression) * sides
    acted *= np.where(of_mouth & (lips > 0.05), 1 - _SPEECH_WEAKENS_MOUTH, 1.0)
    units = acted + lips
    since_blink = np.abs(times % _BLINK_PERIOD_SECONDS - take.blink_start_seconds)
    blink = np.maximum(0, 1 - since_blink / _BLINK_HALF_SECONDS)
    lids = [k for k, name in enumerate(head.unit_names) if name.startswith("eyeBlink")]
    units[:, lids] = np.minimum(1, units[:, lids] + blink[:, None])
    return units.astype(np.float32)


def _film(
    head: Head, look: Look, take: Take, units: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw every frame and pass it through the camera's exposure, colours and noise."""
    count = len(units)
    sway = np.cumsum(rng.normal(0, take.sway, (count, 3)), axis=0)
    head_turns = sway - sway.mean(0) + take.head_pose
    gaze = np.cumsum(rng.normal(0, 0.015, (count, 2)), axis=0)
    gaze = np.clip(gaze - gaze.mean(0), -0.15, 0.15)
    patches = rng.uniform(0.75, 1.25, (6, 6, 1)) * rng.uniform(60, 220, 3)
    patches = np.clip(patches, 0, 255).astype(np.float32)
    background = cv2.resize(patches, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_CUBIC)
    scene = Scene(
        np.clip(background, 0, 255).astype(np.uint8),
        Light((take.light_azimuth, take.light_elevation, 0.8), take.light_directed),
        Camera(take.zoom, take.shift),
    )
    grey = np.arange(256)[:, None] / 255
    curve = 255 * np.array(take.tint) * take.exposure * grey**take.gamma
    response = np.clip(curve, 0, 255).astype(np.uint8)[None]
    frames = np.empty((count, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    for k in range(count):
        turn = (head_turns[k, 0], head_turns[k, 1], head_turns[k, 2])
        pose = Pose(turn, (gaze[k, 0], gaze[k, 1]))
        image = cv2.LUT(draw_face(head, look, units[k], pose, scene, supersampling=1.5), response)
        grain = rng.standard_normal((FRAME_SIZE, FRAME_SIZE), np.float32) * take.pixel_noise
        frames[k] = cv2.add(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U)
    return frames
