"""Preparation inside of training takes what `avemo prepare` takes."""

import numpy as np
import pytest
from support.audio_files import write_audio
from support.media_files import tone

from jax_avemo import config as settings
from jax_avemo.data.clip_store import read_clips
from jax_avemo.experiment import clips_of_another, ensure_clips
from jax_avemo.runtime.errors import UserError


def test_the_audio_track_of_the_config_is_prepared(tmp_path):
    """Films whose first and second track are tones of 440 and 1000 Hz."""
    for label in ("happy", "sad"):
        path = tmp_path / "media" / label / "anna" / "take.mkv"
        write_audio(path, tone(1.0, 440), tone(1.0, 1000), codec="pcm_s16le")
    common = {
        "data.corpus": "folder",
        "data.source": str(tmp_path / "media"),
        "data.modality": "audio",
        "data.workers": 1,
        "model.modalities": ("audio",),
    }
    for track, hertz in ((0, 440), (2, 1000)):
        place = {"data.data_dir": str(tmp_path / f"track{track}"), "data.audio_track": track}
        config = settings.make_config("x", "tiny", common | place)
        ensure_clips(config)
        for clip in read_clips(settings.data_dir(config)):
            spectrum = np.abs(np.fft.rfft(clip.audio))
            assert np.argmax(spectrum) * 16_000 / clip.audio.size == pytest.approx(hertz, abs=2)
    # The tracks of another corpus are numbered by themselves.
    other = clips_of_another(config, "folder", tmp_path / "media", tmp_path / "track0")
    assert "audio_track" not in other.options
    with pytest.raises(UserError, match="audio_track"):
        ensure_clips(settings.make_config("x", "tiny", common | place | {"data.audio_track": 1}))
