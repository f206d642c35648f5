"""Prediction of films, from files or from arrays.

`docs/guides/predict.md` describes what comes out and what is left unknown.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_avemo import __version__
from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.pipeline import InputOptions, LabelIndex, make_example, padding_row
from jax_avemo.data.windows import (
    Excerpt,
    FilmTask,
    Window,
    WindowMaker,
    WindowOptions,
    film_windows,
    window_from_bytes,
)
from jax_avemo.evaluation.calibration import apply_temperature, read_temperatures
from jax_avemo.evaluation.enrolment import make_centred_heads
from jax_avemo.evaluation.network import (
    INPUTS,
    UNCALIBRATED,
    jitted_network,
    temperatures_of,
)
from jax_avemo.evaluation.trained_network import Trained, load_run
from jax_avemo.inference.array_checks import check_frames, check_sound
from jax_avemo.inference.collect import Collected
from jax_avemo.inference.earlier_windows import EarlierWindows
from jax_avemo.inference.live import Live, as_int16
from jax_avemo.inference.model_folder import (
    HUB,
    SharedNetwork,
    download,
    is_folder,
    read_folder,
)
from jax_avemo.inference.read_ahead import read_ahead
from jax_avemo.inference.timeline import ModelFacts, Prediction, WindowPrediction
from jax_avemo.media.decoding.container import MediaError, TimedFrame
from jax_avemo.media.decoding.stream import MAX_SECONDS, AudioPiece
from jax_avemo.media.sandbox import IsolatedError, IsolatedWorker, Limits
from jax_avemo.runtime.errors import UserError
from jax_avemo.training import build

DEFAULT_HOP_SECONDS = 1.0
DEFAULT_MAX_FACES = 4
LIMITS = Limits(seconds=120.0, cpu_seconds=60, memory_bytes=4 << 30)
"""Of the process that decodes a file, for each window."""
_READ_AHEAD = 16
"""Windows that are decoded while the network works."""
_NOTHING = "no face and no sound"


def load(run: str | Path | None = None) -> "Model":
    """The best network of a run directory, or an exported one, ready to predict.

    Args:
      run: `runs/NAME`; or a folder that `avemo export --format folder` wrote; or "hub:OWNER/NAME",
        such a folder on the hub (needs the extra `hub`); None = the newest finished run below
        `runs`.

    Raises:
      UserError: no such run, or nothing finished in it.
    """
    folder = newest_run(Path("runs")) if run is None else Path(run)
    if str(run).startswith(HUB):
        folder = download(str(run))
    if is_folder(folder):
        return Model(read_folder(folder))
    with _orbax_silenced():
        return Model(load_run(folder))


@contextmanager
def _orbax_silenced() -> Iterator[None]:
    """Orbax warns through absl of every default it takes, which tells a caller nothing."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def newest_run(runs: Path) -> Path:
    """The run directory below `runs` whose results were written last.

    Raises:
      UserError: none has results.
    """
    finished = [
        path for path in runs.glob("**/results.json") if (path.parent / "checkpoints").is_dir()
    ]
    if not finished:
        raise UserError(
            f"no finished run below {runs}/; train one (python -m jax_avemo.main "
            "--config=configs/decoupled.py) or give --run"
        )
    return max(finished, key=lambda path: path.stat().st_mtime).parent


class Model:
    """A trained network. Not to be shared by threads, `live` sessions included."""

    def __init__(self, trained: Trained | SharedNetwork) -> None:
        config = trained.config
        temperatures = read_temperatures(trained.run, trained.step)
        self.emotions: tuple[str, ...] = trained.index.emotions
        self.facts = ModelFacts(
            name=config.name,
            size=config.size,
            run=str(trained.run),
            step=trained.step,
            version=__version__,
            corpus=config.data.corpus,
            synthetic=trained.synthetic,
            calibrated=temperatures is not None,
            modalities=tuple(config.model.modalities),
            window_seconds=float(config.input.audio_seconds),
        )
        self.inputs: InputOptions = build.build_inputs(config, training=False)
        self._clip = ClipOptions(
            frame_size=config.data.stored_size,
            frames_per_second=config.data.stored_fps,
            max_seconds=MAX_SECONDS,
            need_video=False,
            need_audio=False,
        )
        self._index: LabelIndex = trained.index
        self._temperatures = temperatures or {}
        self._network = jitted_network(trained.model)
        self._centred_heads = (
            make_centred_heads(trained.model) if config.model.person_centred else None
        )
        self._variables = trained.variables
        # A batch of 1 costs no more a window on a CPU.
        self._batch = 1 if jax.default_backend() == "cpu" else 8

    def __repr__(self) -> str:
        facts = self.facts
        said = f"{facts.name}, size {facts.size}, {len(self.emotions)} emotions"
        return f"<Model {said}{': ' + self.warning if self.warning else ''}>"

    @property
    def notes(self) -> tuple[str, ...]:
        """What holds for every prediction of this network."""
        notes = []
        if len(self.facts.modalities) == 1:
            notes.append(f"this network reads {self.facts.modalities[0]} alone")
        if not self.facts.calibrated:
            notes.append(
                f"confidences are not calibrated: run avemo evaluate {self.facts.run} once"
            )
        return tuple(notes)

    @property
    def warning(self) -> str:
        """What must stand wherever this network's words are shown; "" = nothing."""
        return self.facts.warning

    def predict(
        self,
        path: str | Path,
        *,
        hop_seconds: float = DEFAULT_HOP_SECONDS,
        max_faces: int = DEFAULT_MAX_FACES,
        enrolment: bool = True,
        max_seconds: float = MAX_SECONDS,
        limits: Limits = LIMITS,
        progress: Callable[[float, float], None] | None = None,
    ) -> Prediction:
        """Predict a film of any length, sound or a still picture, decoded in a process of its own.

        Memory does not grow with the film but for what is returned (about 1 KB a window and face).

        Args:
          path: a film, or sound alone, or picture alone.
          hop_seconds: from one window's beginning to the next one's.
          max_faces: followed at once.
          enrolment: where the network was trained for it (`model.person_centred`), centre a
            person's windows on its own earlier ones, once there are enough and they show several
            emotions; see `EarlierWindows`.
          max_seconds: longer files are refused.
          limits: of the decoding process, for each window.
          progress: called with the seconds of film done and the film's seconds; first with 0.

        Raises:
          UserError: not readable, nothing in it that this network reads, larger than allowed.
            A file that breaks off later gives what there was, with `complete` False.
        """
        path = Path(path)
        options = self._options(hop_seconds, max_faces)
        earlier = self._earlier(enrolment)
        task = FilmTask(str(path), options, max_seconds)
        broken: list[str] = []
        with IsolatedWorker(film_windows, limits) as worker:
            messages = worker.stream(task)
            try:
                about = json.loads(next(messages))
            except IsolatedError as error:
                raise MediaError(str(error), path) from error
            duration = float(about["duration"])
            if progress is not None:
                progress(0.0, duration)

            def windows() -> Iterator[Window]:
                try:
                    for message in messages:
                        yield window_from_bytes(message)
                except IsolatedError as error:
                    broken.append(str(error))

            collected = Collected()
            ahead = read_ahead(windows(), _READ_AHEAD)
            for window, predicted in self._predicted(ahead, earlier):
                collected.add(window, predicted)
                if progress is not None:
                    progress(min(window.end, duration), duration)
        if broken and not collected.windows:
            raise MediaError(broken[0], path)
        notes = [about["note"]] if about["note"] else []
        notes += [f"stops at {collected.end:.1f} s: {reason}" for reason in broken]
        if about["still"]:
            notes.append(f"a still picture: predicted as if held for {duration:g} s")
        return self._prediction(
            collected,
            source=path.name,
            duration=collected.end if broken else max(collected.end, duration),
            there=tuple(name for name in ("video", "audio") if about[name]),
            notes=notes,
            complete=not broken and about["whole"],
        )

    def predict_arrays(
        self,
        frames: Any = None,
        times: Any = None,
        sound: Any = None,
        *,
        hop_seconds: float = DEFAULT_HOP_SECONDS,
        max_faces: int = DEFAULT_MAX_FACES,
        enrolment: bool = True,
        source: str = "arrays",
    ) -> Prediction:
        """Predict pictures and sound that are already in memory.

        Args:
          frames: uint8 [F, H, W, 3], RGB pictures as a camera gives them; the face is found and
            cut out here.
          times: [F], when each is shown, seconds, ascending.
          sound: [N], 16 kHz mono, int16 or floats in [-1, 1], beginning at 0 s.
          hop_seconds, max_faces, enrolment: as for `predict`.
          source: a name for the result.

        Raises:
          UserError: neither frames nor sound that this network reads; frames without times; a
            wrong shape, type or range.
        """
        maker = WindowMaker(self._options(hop_seconds, max_faces))
        if frames is not None:
            check_frames(frames, times)
        if sound is not None:
            check_sound(sound)
        there = ("video",) * (frames is not None and len(frames) > 0)
        there += ("audio",) * (sound is not None and len(sound) > 0)
        if not set(there) & set(self.facts.modalities):
            raise UserError(f"this network reads {' and '.join(self.facts.modalities)}: give some")
        if sound is not None and "audio" in self.facts.modalities:
            maker.add_sound(AudioPiece(0, as_int16(sound)))
        shown = () if frames is None or times is None else zip(times, frames, strict=True)
        duration = maker.audio_end
        if times is not None and len(times):
            duration = max(duration, float(times[-1]))

        def windows() -> Iterator[Window]:
            for time, image in shown if "video" in self.facts.modalities else ():
                yield from maker.due(float(time))
                maker.add_frame(TimedFrame(float(time), np.ascontiguousarray(image)))
            yield from maker.finish(duration)

        collected = Collected()
        for window, predicted in self._predicted(windows(), self._earlier(enrolment)):
            collected.add(window, predicted)
        return self._prediction(collected, source=source, duration=duration, there=there)

    def live(
        self,
        *,
        hop_seconds: float = DEFAULT_HOP_SECONDS,
        max_faces: int = DEFAULT_MAX_FACES,
        enrolment: bool = True,
    ) -> Live:
        """A session for a camera: add frames and sound, ask for an estimate at any time."""
        maker = WindowMaker(self._options(hop_seconds, max_faces))
        earlier = self._earlier(enrolment)
        return Live(partial(self.predict_window, earlier=earlier), maker, self.facts.window_seconds)

    def warm_up(self) -> None:
        """Compile the network now rather than at the first window (seconds; cached on disk)."""
        self._run([padding_row(self.inputs)])

    def predict_window(
        self, window: Window, earlier: EarlierWindows | None = None
    ) -> list[WindowPrediction]:
        """What the network says of a window's excerpts, by itself or after earlier ones."""
        return next(iter(self._predicted([window], earlier)))[1]

    def _earlier(self, enrolment: bool) -> EarlierWindows | None:
        return EarlierWindows() if enrolment and self._centred_heads else None

    def _options(self, hop_seconds: float, max_faces: int) -> WindowOptions:
        if not 0.05 <= hop_seconds <= self.facts.window_seconds:
            raise UserError(
                f"the hop is {hop_seconds:g} s; allowed are 0.05 to {self.facts.window_seconds:g} s"
            )
        if not 1 <= max_faces <= 16:
            raise UserError(f"{max_faces} faces can't be followed; allowed are 1 to 16")
        return WindowOptions(
            clip=self._clip,
            window_seconds=self.facts.window_seconds,
            hop_seconds=hop_seconds,
            max_faces=max_faces,
            video="video" in self.facts.modalities,
            audio="audio" in self.facts.modalities,
        )

    def _predicted(
        self, windows: Iterable[Window], earlier: EarlierWindows | None
    ) -> Iterator[tuple[Window, list[WindowPrediction]]]:
        """Every window with its predictions, in order; the network gets full batches."""
        waiting: list[Window] = []
        rows: list[dict[str, Any]] = []
        for window in windows:
            waiting.append(window)
            rows += [make_example(e.clip, self.inputs, self._index) for e in window.excerpts]
            if len(rows) >= self._batch:
                yield from self._release(waiting, rows, earlier)
                waiting, rows = [], []
        yield from self._release(waiting, rows, earlier)

    def _release(
        self, windows: list[Window], rows: list[dict[str, Any]], earlier: EarlierWindows | None
    ) -> Iterator[tuple[Window, list[WindowPrediction]]]:
        outputs = self._run(rows) if rows else {}
        position = 0
        for window in windows:
            predicted = []
            for excerpt in window.excerpts:
                one = {name: value[position] for name, value in outputs.items()}
                enrolled = 0
                if earlier is not None:
                    one, enrolled = self._centred(window, excerpt, one, earlier)
                predicted.append(self._window_prediction(window, excerpt, one, enrolled))
                position += 1
            unknown = WindowPrediction(
                window.start, window.end, None, (), None, None, None, None, _NOTHING
            )
            yield window, predicted or [unknown]

    def _run(self, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        """The network over rows, `batch` at a time, so that one compiled program serves all."""
        found = []
        for first in range(0, len(rows), self._batch):
            part = list(rows[first : first + self._batch])
            part += [padding_row(self.inputs)] * (self._batch - len(part))
            inputs = {name: np.stack([row[name] for row in part]) for name in INPUTS}
            outputs = self._network(self._variables, inputs, temperatures_of(self._temperatures))
            found.append({name: np.asarray(value) for name, value in outputs.items()})
        return {name: np.concatenate([f[name] for f in found])[: len(rows)] for name in found[0]}

    def _centred(
        self,
        window: Window,
        excerpt: Excerpt,
        outputs: dict[str, np.ndarray],
        earlier: EarlierWindows,
    ) -> tuple[dict[str, np.ndarray], int]:
        """The outputs less the mean of the person's earlier windows, and how many these are."""
        mean, count = earlier.mean_before(excerpt.face, window.start)
        emotion = int(np.argmax(outputs["probabilities"]))
        earlier.add(excerpt.face, window.start, window.end, outputs["z"], emotion)
        if mean is None or self._centred_heads is None:
            return outputs, 0
        probabilities, z_e = self._centred_heads(self._variables, outputs["z"][None], mean[None])
        temperature = self._temperatures.get("+".join(_modalities(excerpt)), UNCALIBRATED)
        calibrated = apply_temperature(probabilities[0].astype(np.float64), temperature)
        return outputs | {"probabilities": calibrated, "z_e": z_e[0]}, count

    def _window_prediction(
        self, window: Window, excerpt: Excerpt, outputs: dict[str, np.ndarray], enrolled: int
    ) -> WindowPrediction:
        probabilities = outputs["probabilities"].astype(np.float64)
        best = int(np.argmax(probabilities))
        return WindowPrediction(
            start=window.start,
            end=window.end,
            face=excerpt.face,
            modalities=_modalities(excerpt),
            probabilities=probabilities,
            emotion=self.emotions[best],
            confidence=float(probabilities[best]),
            box=None,
            reason="",
            embedding=outputs["z_e"],
            enrolled=enrolled,
        )

    def _prediction(
        self,
        collected: Collected,
        *,
        source: str,
        duration: float,
        there: tuple[str, ...],
        notes: Sequence[str] = (),
        complete: bool = True,
    ) -> Prediction:
        """All windows of a film; `there` = its modalities."""
        return Prediction(
            source=source,
            duration=duration,
            emotions=self.emotions,
            modalities=there,
            windows=tuple(collected.windows),
            faces=collected.paths(),
            notes=(*notes, *collected.notes(self.facts.modalities, there), *self.notes),
            complete=complete,
            model=self.facts,
            shots=collected.shots() if "video" in there else (),
        )


def _modalities(excerpt: Excerpt) -> tuple[str, ...]:
    return ("video",) * (excerpt.face is not None) + ("audio",) * (excerpt.clip.audio.size > 0)
