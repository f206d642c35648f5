"""Plain speech by espeak-ng through ctypes, with phoneme times."""

import _ctypes
import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jax_avemo.runtime.errors import UserError

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INIT_PHONEME_EVENTS = 1 << 0
_INIT_PHONEME_IPA = 1 << 1
_INIT_DONT_EXIT = 1 << 15
_EVENT_LIST_END = 0
_EVENT_PHONEME = 7
_PARAMETER_RATE, _PARAMETER_VOLUME, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 2, 3, 4
_POSITION_CHARACTER = 1
_CHARS_UTF8_PHONEMES = 1 | 0x100


@dataclass(frozen=True)
class Phoneme:
    """An IPA symbol (stress marks removed) and the second at which it starts."""

    symbol: str
    start_seconds: float


@dataclass(frozen=True)
class Speech:
    """Mono samples in [-1, 1], their rate in Hz, and the phonemes; an empty symbol is a pause."""

    samples: Float[np.ndarray, "N"]
    sample_rate: int
    phonemes: tuple[Phoneme, ...]


class _EventId(ctypes.Union):
    _fields_ = [
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    ]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def _load_library() -> tuple[ctypes.CDLL, bytes]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError(
            "the demo corpus needs espeak-ng; run: pip install 'jax_avemo[demo]'"
        ) from error
    library = ctypes.cdll.LoadLibrary(str(espeakng_loader.get_library_path()))
    return library, str(espeakng_loader.get_data_path()).encode()


def say(text: str, *, voice: str, words_per_minute: int) -> Speech:
    """Speak `text` with the espeak-ng voice `voice` ("en-us+f2").

    The library is loaded afresh for every sentence (4 ms): it keeps the phase of its flutter and
    the state of its noise in static variables that espeak_Initialize does not reset (measured:
    the same sentence differed), and speech must not depend on what was spoken before.

    Raises UserError if espeak-ng or the voice is missing.
    """
    library, data_path = _load_library()
    options = _INIT_PHONEME_EVENTS | _INIT_PHONEME_IPA | _INIT_DONT_EXIT
    sample_rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, options)
    if sample_rate <= 0:
        raise UserError(
            "espeak-ng did not start; run: pip install --force-reinstall 'jax_avemo[demo]'"
        )
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    chunks: list[np.ndarray] = []
    phonemes: list[Phoneme] = []

    def collect(wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_LIST_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                symbol = bytes(event.id.string).split(b"\0")[0].decode(errors="ignore")
                symbol = symbol.replace("ˈ", "").replace("ˌ", "")
                phonemes.append(Phoneme(symbol, event.audio_position / 1000))
            index += 1
        return 0

    callback = _Callback(collect)
    try:
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"espeak-ng has no voice {voice!r}; use one such as en-us+m3")
        for parameter, value in (
            (_PARAMETER_RATE, words_per_minute),
            (_PARAMETER_VOLUME, 100),
            (_PARAMETER_PITCH, 50),
            (_PARAMETER_RANGE, 60),
        ):
            library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        library.espeak_Synth(
            encoded,
            ctypes.c_size_t(len(encoded) + 1),
            0,
            _POSITION_CHARACTER,
            0,
            _CHARS_UTF8_PHONEMES,
            None,
            None,
        )
        library.espeak_Synchronize()
    finally:
        library.espeak_Terminate()
        # ctypes offers no public call for this; FreeLibrary on Windows, dlclose elsewhere.
        if sys.platform == "win32":
            _ctypes.FreeLibrary(library._handle)
        else:
            _ctypes.dlclose(library._handle)
    samples = np.concatenate(chunks).astype(np.float32) / 32768
    return Speech(samples, sample_rate, tuple(phonemes))
