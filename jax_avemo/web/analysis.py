"""Predictions of a film or of a webcam as the page shows them."""

import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jax_avemo.data.windows import WindowOptions, window_from_bytes
from jax_avemo.evaluation.model_card import SYNTHETIC_WARNING
from jax_avemo.inference.collect import Collected
from jax_avemo.inference.predict import load
from jax_avemo.inference.prediction_files import WRITERS
from jax_avemo.inference.timeline import FacePath, Prediction, WindowPrediction
from jax_avemo.media.decoding.container import MediaError
from jax_avemo.media.sandbox import IsolatedWorker, Limits
from jax_avemo.palette import colours_of, in_order
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import AUDIO_SAMPLE_RATE
from jax_avemo.web.webcam import MomentTask, live_window, pack_moment, unpack_moment

_FILM_LIMITS = Limits(seconds=60.0, cpu_seconds=60, memory_bytes=4 << 30)
"""Of the process that decodes a film, for each window."""
_MOMENT_LIMITS = Limits(seconds=10.0, cpu_seconds=10, memory_bytes=2 << 30)
_MOST_LIVE_FRAMES_PER_SECOND = 6.0
"""Enough to follow a face; more would make two cores late."""
_MAX_FACES = 4


class RunAnalyst:
    """`web.app.Analyst` with a trained run behind it. Films and webcams may run side by side."""

    def __init__(self, run: Path | None, film_seconds: float, *, enrolment: bool = True) -> None:
        # One for each thread of work; the compiled program is the same, from the disk.
        self._of_films, self._of_moments = load(run), load(run)
        self._film_seconds, self._enrolment = film_seconds, enrolment
        self._worker = IsolatedWorker(live_window, _MOMENT_LIMITS)

    def warm_up(self) -> None:
        """Compile, and start what decodes the webcam, before the first person waits for it."""
        self._of_films.warm_up()
        self._of_moments.warm_up()
        self.moment(pack_moment([], np.zeros(AUDIO_SAMPLE_RATE, np.int16)))

    def close(self) -> None:
        """End the process that decodes the webcam."""
        self._worker.close()

    @property
    def emotions(self) -> tuple[str, ...]:
        """In the order of all probabilities."""
        return self._of_films.emotions

    def about(self) -> dict[str, Any]:
        """What the page must know of the network."""
        facts = self._of_films.facts
        corpus = f"the corpus {facts.corpus}" + (" (synthetic actors)" if facts.synthetic else "")
        model = f"Network {facts.name}, size {facts.size}, trained on {corpus}"
        if not facts.calibrated:
            model += "; its confidences are not calibrated"
        rate = self._window_options().clip.frames_per_second
        return {
            "model": f"{model}. jax_avemo {facts.version}",
            "colours": list(colours_of(self.emotions)),
            "order": [self.emotions.index(name) for name in in_order(self.emotions)],
            "warning": SYNTHETIC_WARNING if facts.synthetic else "",
            "live": {
                "seconds": facts.window_seconds,
                "frames_per_second": min(rate, _MOST_LIVE_FRAMES_PER_SECOND),
                "sample_rate": AUDIO_SAMPLE_RATE,
                "video": "video" in facts.modalities,
                "audio": "audio" in facts.modalities,
            },
        }

    def film(self, path: Path, name: str) -> Generator[dict[str, Any], None, None]:
        """Events of one film: how far, and at last the timelines. See `web.app.Analyst`."""
        events: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()
        left = threading.Event()

        def tell(done: float, duration: float) -> None:
            if left.is_set():
                raise _LeftError
            events.put({"progress": done / max(duration, 1e-9), "duration": round(duration, 3)})

        def work() -> None:
            try:
                prediction = self._of_films.predict(
                    path,
                    max_faces=_MAX_FACES,
                    enrolment=self._enrolment,
                    max_seconds=self._film_seconds,
                    limits=_FILM_LIMITS,
                    progress=tell,
                )
                events.put(page_event(replace(prediction, source=name)))
            except _LeftError:
                pass
            except MediaError as error:
                events.put(UserError(f"the file {error.reason}"))  # its path means nothing here
            except Exception as error:
                events.put(error)
            finally:
                events.put(None)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            while (event := events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            left.set()
            worker.join()

    def moment(self, message: bytes) -> dict[str, Any]:
        """The estimate of a webcam's last seconds. UserError: what is wrong with the message."""
        task = MomentTask(unpack_moment(message), self._window_options())
        window = window_from_bytes(self._worker.answer(task))
        collected = Collected()
        collected.add(window, self._of_moments.predict_window(window))
        shown = nearest(collected.windows)
        boxes = [_rounded(w.box) for w in collected.windows if w.box is not None]
        return _shown(shown) | {
            "boxes": boxes,
            "seconds": round(window.end - window.start, 3),
            "people": sum(excerpt.face is not None for excerpt in window.excerpts),
        }

    def _window_options(self) -> WindowOptions:
        return self._of_moments.live(max_faces=_MAX_FACES).maker.options


class _LeftError(Exception):
    """The browser is gone."""


def nearest(predictions: list[WindowPrediction]) -> WindowPrediction:
    """Whom a webcam shows: the largest face, else the sound or what is unknown."""

    def size(prediction: WindowPrediction) -> float:
        if prediction.box is None:
            return 0.0
        left, top, right, bottom = prediction.box
        return (right - left) * (bottom - top)

    return max(predictions, key=lambda j: (j.face is not None, size(j)))


def page_event(prediction: Prediction) -> dict[str, Any]:
    """The last event of a film: its timelines as the page shows them, and the whole result."""
    return {
        "done": True,
        "progress": 1.0,
        "duration": round(prediction.duration, 3),
        "notes": list(prediction.notes),
        "tracks": tracks(prediction.windows, prediction.faces),
        "result": prediction.to_dict(),
        "files": {
            form: write(prediction, None) for form, write in WRITERS.items() if form != "json"
        },
    }


def tracks(windows: Sequence[WindowPrediction], faces: Sequence[FacePath]) -> list[dict[str, Any]]:
    """A timeline for each person, each over the whole film.

    With one face or none it is *the film's*: where the face is gone, what is heard stands in. With
    several, a voice may be anybody's: it has a timeline of its own, and a person who is not in the
    picture is unknown.
    """
    spans = sorted({(w.start, w.end) for w in windows})
    by_span = {(w.start, w.end, w.face): w for w in windows}
    numbers = [path.number for path in faces]

    def track(name: str, who: tuple[int | None, ...], face: int | None) -> dict[str, Any]:
        shown = []
        for start, end in spans:
            found = [by_span[start, end, one] for one in who if (start, end, one) in by_span]
            unknown = {"probabilities": None, "face": False, "sound": False, "reason": "not there"}
            shown.append({"start": start, "end": end} | (_shown(found[0]) if found else unknown))
        boxes = [
            [round(float(time), 3), *np.round(box, 4).tolist()]
            for path in faces
            if path.number == face
            for time, box in zip(path.times, path.boxes, strict=True)
        ]
        return {"name": name, "windows": shown, "boxes": boxes}

    if len(numbers) <= 1:
        return [track("The film", (*numbers, None), numbers[0] if numbers else None)]
    found = [track(f"Face {number}", (number,), number) for number in numbers]
    if any(w.face is None and w.modalities for w in windows):
        found.append(track("The audio alone", (None,), None))
    return found


def _shown(prediction: WindowPrediction) -> dict[str, Any]:
    known = prediction.probabilities
    return {
        "probabilities": None if known is None else [round(float(p), 4) for p in known],
        "face": "video" in prediction.modalities,
        "sound": "audio" in prediction.modalities,
        "box": None if prediction.box is None else _rounded(prediction.box),
        "reason": prediction.reason,
    }


def _rounded(box: tuple[float, float, float, float]) -> list[float]:
    return [round(side, 4) for side in box]
