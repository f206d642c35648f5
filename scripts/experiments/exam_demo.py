"""Difficulty of the synthetic corpus: linear models, an oracle, faces found, prosody.

    python scripts/experiments/exam_demo.py ...

exam_demo.py CORPUS              the exam on a corpus folder
exam_demo.py CORPUS --measure    faces found, pitch, level and length by emotion
exam_demo.py --sheet FILE.jpg    a picture of six actors in eight emotions
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int

from jax_avemo.evaluation import metrics
from jax_avemo.media.decoding.decode import Media, read_media
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.media.faces.main_face import track_and_crop
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import AUDIO_SAMPLE_RATE, RAVDESS_EMOTIONS
from jax_avemo.synthetic.head import load_head, unit_vector
from jax_avemo.synthetic.perform import FRAMES_PER_SECOND
from jax_avemo.synthetic.style import NEUTRAL_PROSODY

TEST_ACTORS, VALIDATION_ACTORS, ROTATIONS = 8, 4, 3

REGULARISATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
CROP_SIZE = 64
MEL_BANDS = 64
EXAM_FRAMES_PER_SECOND = 4


def video_features(media: Media, detector: FaceDetector) -> tuple[np.ndarray, np.ndarray]:
    """HOG (9 directions, 8 px cells, 2x2 blocks) of aligned grey faces, mean over the frames;
    and in which frames the detector found the face."""
    from skimage.feature import hog

    track = track_and_crop(media.frames, CROP_SIZE, detector=detector)
    greys = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in track.crops]
    return np.mean([hog(grey, 9, (8, 8), (2, 2)) for grey in greys], axis=0), track.found


def audio_features(audio: np.ndarray) -> Float[np.ndarray, "D"]:
    """Of the log-mel spectrogram: mean and deviation a band over the louder frames, mean change
    a band, and the length."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=audio,
        sr=AUDIO_SAMPLE_RATE,
        n_fft=1024,
        hop_length=256,
        n_mels=MEL_BANDS,
        fmin=50,
        fmax=7800,
    )
    log_mel = np.log(power.T + 1e-5)
    energy = log_mel.mean(1)
    loud = log_mel[energy > np.quantile(energy, 0.4)]
    change = np.abs(np.diff(log_mel, axis=0)).mean(0)
    return np.concatenate([loud.mean(0), loud.std(0), change, [len(log_mel) / 100]])


def true_face(truth: dict) -> Float[np.ndarray, "U"]:
    """The face units that the take was acted with."""
    return unit_vector(load_head(), truth["expression"])


def true_voice(truth: dict) -> Float[np.ndarray, "D"]:
    """The prosody that the take was spoken with; pitch relative to a voice of its sex."""
    prosody = [truth["prosody"][name] for name in NEUTRAL_PROSODY]
    for index in range(4):
        prosody[index] = float(np.log(prosody[index]))
    female = truth["actor"] % 2 == 0
    pitch = np.log(truth["pitch_hz"] / (200 if female else 115)) + prosody[0]
    return np.array([pitch, *prosody[1:]])


def unweighted_average_recall(
    truth: Int[np.ndarray, "N"], predicted: Int[np.ndarray, "N"]
) -> float:
    """Mean over the classes of the share found."""
    confusion = metrics.confusion_matrix(truth, predicted, len(RAVDESS_EMOTIONS))
    return float(metrics.unweighted_average_recall(confusion))


def split_actors(actor: Int[np.ndarray, "N"], rotation: int) -> tuple[np.ndarray, ...]:
    """Masks of training, validation and test clips: 12, 4 and 8 actors of 24."""
    actors = np.unique(actor)
    if len(actors) < TEST_ACTORS + VALIDATION_ACTORS + 2:
        raise UserError(f"the exam needs at least 14 actors; the corpus has {len(actors)}")
    actors = np.roll(actors, -rotation * TEST_ACTORS)
    test, validation = actors[:TEST_ACTORS], actors[TEST_ACTORS:][:VALIDATION_ACTORS]
    in_test, in_validation = np.isin(actor, test), np.isin(actor, validation)
    return ~in_test & ~in_validation, in_validation, in_test


def predict_split(
    features: Float[np.ndarray, "N D"],
    emotion: Int[np.ndarray, "N"],
    split: tuple[np.ndarray, ...],
    *,
    forest: bool = False,
) -> Int[np.ndarray, "M"]:
    """Emotions of the test clips; `split` has the masks of training, validation and test clips.

    Logistic regression on standardised features, its C chosen on the validation actors; with
    `forest` a random forest competes on the validation actors too.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, validation, test = split
    models = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))
        for c in REGULARISATIONS
    ]
    if forest:
        models.append(RandomForestClassifier(400, min_samples_leaf=2, random_state=0))
    scores = []
    for model in models:
        model.fit(features[train], emotion[train])
        predicted = model.predict(features[validation])
        scores.append(unweighted_average_recall(emotion[validation], predicted))
    return models[int(np.argmax(scores))].predict(features[test])


def examine(
    features: Float[np.ndarray, "N D"], emotion: np.ndarray, actor: np.ndarray, *, forest: bool
) -> tuple[float, np.ndarray]:
    """UAR on unseen actors, mean of the rotations, and the recall of every emotion."""
    uars, recalls = [], []
    for rotation in range(ROTATIONS):
        split = split_actors(actor, rotation)
        test = split[2]
        predicted = predict_split(features, emotion, split, forest=forest)
        uars.append(unweighted_average_recall(emotion[test], predicted))
        recalls.append([np.mean(predicted[emotion[test] == k] == k) for k in range(8)])
    return float(np.mean(uars)), np.mean(recalls, axis=0)


def corpus_clips(folder: Path) -> tuple[list[Path], np.ndarray, np.ndarray, dict]:
    """Clips, their emotions and actors (from the file names), and the true parameters."""
    if not (folder / "corpus.json").exists():
        raise UserError(f"{folder} is no finished demo corpus; run: avemo demo {folder}")
    paths = sorted(folder.glob("Actor_*/*.mp4"))
    fields = np.array([[int(part) for part in path.stem.split("-")] for path in paths])
    truth = json.loads((folder / "truth.json").read_text())
    return paths, fields[:, 2] - 1, fields[:, 6], truth


def exam_features(
    paths: list[Path],
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "N E"]]:
    """What the linear models see of every clip: its face (HOG) and its audio (log-mel)."""
    detector = FaceDetector()
    faces, voices = [], []
    with Progress(len(paths), "reading", unit="clips") as progress:
        for path in paths:
            media = read_media(path, frames_per_second=EXAM_FRAMES_PER_SECOND)
            faces.append(video_features(media, detector)[0])
            voices.append(audio_features(media.audio.astype(np.float32) / 32768))
            progress.advance()
    return np.array(faces), np.array(voices)


def run_exam(folder: Path) -> None:
    """Print the exam's table."""
    paths, emotion, actor, truth = corpus_clips(folder)
    face, voice = exam_features(paths)
    known = [truth[path.relative_to(folder).as_posix()] for path in paths]
    face_truth = np.array([true_face(t) for t in known])
    voice_truth = np.array([true_voice(t) for t in known])
    print(
        f"{len(paths)} clips, {len(np.unique(actor))} actors; UAR on unseen actors, % "
        f"(chance {100 / 8}); mean of {ROTATIONS} rotations"
    )
    print("| model | UAR | " + " | ".join(RAVDESS_EMOTIONS) + " |")
    print("|---" * 10 + "|")
    for name, features, forest in (
        ("logistic regression, log-mel statistics", voice, False),
        ("logistic regression, HOG of faces", face, False),
        ("logistic regression, both", np.hstack([face, voice]), False),
        ("oracle, true prosody", voice_truth, True),
        ("oracle, true face units", face_truth, True),
        ("oracle, both", np.hstack([face_truth, voice_truth]), True),
    ):
        uar, recall = examine(features, emotion, actor, forest=forest)
        cells = " | ".join(f"{100 * r:.0f}" for r in recall)
        print(f"| {name} | {100 * uar:.1f} | {cells} |", flush=True)


def faces_found(media: Media, detector: FaceDetector) -> tuple[list[int], list[float]]:
    """Faces in each frame, and the height of the largest one's box as a share of the frame's."""
    counts, heights = [], []
    for frame in media.frames:
        detected = detector.detect(frame.image)
        counts.append(len(detected))
        if detected:
            top, bottom = detected[0].box[[1, 3]]
            heights.append((bottom - top) / len(frame.image))
    return counts, heights


def prosody(media: Media) -> tuple[float, float, float, float]:
    """Median pitch (Hz), its deviation (semitones), level (dBFS) and length (seconds)."""
    import pyworld

    wave = media.audio.astype(np.float64) / 32768
    pitch, times = pyworld.dio(wave, AUDIO_SAMPLE_RATE, f0_floor=60, f0_ceil=600)
    pitch = pyworld.stonemask(wave, pitch, times, AUDIO_SAMPLE_RATE)
    pitch = pitch[pitch > 0]
    level = 10 * np.log10(np.mean(wave**2) + 1e-12)
    return float(np.median(pitch)), float(12 * np.log2(pitch).std()), float(level), media.duration


def measure(folder: Path) -> None:
    """Print how often the face is found, and pitch, level and length by emotion."""
    paths, emotion, actor, _ = corpus_clips(folder)
    detector = FaceDetector()
    found, heights, rows = [], [], []
    with Progress(len(paths), "measuring", unit="clips") as progress:
        for path in paths:
            media = read_media(path, frames_per_second=FRAMES_PER_SECOND)
            of_clip = faces_found(media, detector)
            found += of_clip[0]
            heights += of_clip[1]
            rows.append(prosody(media))
            progress.advance()
    counts = np.array(found)
    print(
        f"a face found in {np.sum(counts > 0)} of {len(counts)} frames, more than one in "
        f"{np.sum(counts > 1)}; box height {np.mean(heights):.2f} of the frame "
        f"({np.min(heights):.2f} to {np.max(heights):.2f})\n"
    )
    print(prosody_table(np.array(rows), emotion, actor))


def prosody_table(
    rows: Float[np.ndarray, "N 4"], emotion: Int[np.ndarray, "N"], actor: Int[np.ndarray, "N"]
) -> str:
    """Markdown of the mean `prosody` of every emotion; pitch of either sex."""
    lines = [
        "| emotion | pitch, men, Hz | pitch, women, Hz | range, semitones | level, dBFS "
        "| length, s |",
        "|---" * 6 + "|",
    ]
    for k, name in enumerate(RAVDESS_EMOTIONS):
        men = rows[(emotion == k) & (actor % 2 == 1)].mean(0)
        women = rows[(emotion == k) & (actor % 2 == 0)].mean(0)
        every = rows[emotion == k].mean(0)
        lines.append(
            f"| {name} | {men[0]:.0f} | {women[0]:.0f} | {every[1]:.1f} | {every[2]:.1f} "
            f"| {every[3]:.2f} |"
        )
    return "\n".join(lines)


def draw_sheet(path: Path, seed: int = 0, actors: int = 6) -> None:
    """Write a picture of `actors` people (rows) in the eight emotions (columns) at their height."""
    from jax_avemo.synthetic.corpus import actor_look, actor_style
    from jax_avemo.synthetic.face import Light, Pose, Scene, draw_face

    size = 176
    head = load_head()
    rows = []
    for actor in range(1, actors + 1):
        style = actor_style(seed, actor)
        rng = np.random.default_rng([seed, 9, actor])
        tone = rng.uniform(110, 220, 3)
        background = np.empty((size, size, 3), np.uint8)
        background[:] = tone
        scene = Scene(background, Light((rng.uniform(-0.7, 0.7), 0.5, 0.8)))
        pictures = []
        for emotion in RAVDESS_EMOTIONS:
            units = unit_vector(head, style.rest) + unit_vector(head, style.expressions[emotion])
            pose = Pose((0.0, float(rng.normal(0, 0.08)), float(rng.normal(0, 0.04))))
            look = actor_look(seed, actor)
            pictures.append(draw_face(head, look, units, pose, scene, supersampling=2))
        rows.append(np.concatenate(pictures, axis=1))
    title = np.full((28, 8 * size, 3), 255, np.uint8)
    for k, emotion in enumerate(RAVDESS_EMOTIONS):
        place = (k * size + 8, 20)
        cv2.putText(
            title, emotion, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (30, 30, 30), 1, cv2.LINE_AA
        )
    sheet = np.concatenate([title, *rows])
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(path)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="?", type=Path, help="folder of a finished demo corpus")
    parser.add_argument("--measure", action="store_true", help="faces found and prosody")
    parser.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="draw the actors")
    parsed = parser.parse_args(arguments)
    if parsed.corpus is None and parsed.sheet is None:
        parser.error("give a corpus folder, or --sheet FILE.jpg")
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked; returns the exit status."""
    parsed = parse_arguments(arguments)
    try:
        if parsed.sheet is not None:
            draw_sheet(parsed.sheet)
        if parsed.corpus is not None:
            cv2.setNumThreads(1)
            (measure if parsed.measure else run_exam)(parsed.corpus)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
