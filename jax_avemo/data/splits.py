"""Splits by subject: training, validation, test, and the probes' clips.

Every choice is by the SHA-256 of the seed and a name, never by Python's hash, a random generator
or the order of files, so that a split is the same on every machine and Python version.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jax_avemo.data.same_takes import without_copies
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Labels

_SMALLEST_PROBED_SUBJECT = 4
"""From so many clips on, a training subject gives at least one of them to the probes."""

_MOST_CONTENT_GROUPS = 5
"""More would leave little more to train on, and need as many more folds."""


@dataclass(frozen=True)
class Split:
    """Clip keys (sorted) of one fold.

    `probe` are clips of training subjects that are never trained on: what a probe is tested on.
    `train_subjects` (sorted) is the list that a batch's subject index points into.
    """

    protocol: str
    folds: int
    fold: int
    seed: int
    subject_independent: bool
    """False: the same people are in training and test, mark every number from it."""
    train: tuple[str, ...]
    probe: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    train_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]
    train_contents: tuple[str, ...] = ()
    """Sentences of each part, under the protocol "content_independent" (else empty)."""
    validation_contents: tuple[str, ...] = ()
    test_contents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a split that leaks (AssertionError, also under `python -O`)."""
        parts = {"train": self.train, "probe": self.probe, "validation": self.validation}
        _assert_disjoint("clip", **parts, test=self.test)
        if self.subject_independent:
            _assert_disjoint(
                "subject",
                train=self.train_subjects,
                validation=self.validation_subjects,
                test=self.test_subjects,
            )
        _assert_disjoint("sentence", train=self.train_contents, test=self.test_contents)
        _assert_disjoint("sentence", validation=self.validation_contents, test=self.test_contents)


class Dealt(NamedTuple):
    """Which clips are for what, before the probes' share is taken out of `train`."""

    train: list[Labels]
    validation: list[Labels]
    test: list[Labels]


class SplitProtocol(NamedTuple):
    """`deal(labels, folds, fold, validation_subjects, seed)` on labels sorted by key."""

    deal: Callable[[list[Labels], int, int, int, int], Dealt]
    subject_independent: bool


def split_clips(
    labels: Sequence[Labels],
    *,
    protocol: str,
    folds: int,
    fold: int,
    validation_subjects: int,
    seed: int,
    probe_share: float = 0.15,
    same_takes: Sequence[Sequence[str]] = (),
) -> Split:
    """The split of fold `fold` (0 to folds - 1) under a protocol of `PROTOCOLS`.

    "subject_independent": subjects are dealt to the folds, sex-balanced where the sex is known;
    fold number `fold` is the test, `validation_subjects` of the others (sex-balanced) select the
    model, the rest train. Over the folds every subject is tested exactly once.

    "content_independent": subjects as before and sentences too are kept apart: the test subjects'
    clips of one group of sentences (see `group_contents`) are tested, of which no sentence was
    trained on or selected with. `folds` is a multiple of the number of groups, and over the folds
    every clip is tested exactly once. With two groups the model is selected on the training
    sentences, with more on a group of its own. A fold's other clips (test subjects' other
    sentences, ...) are unused.

    "leaky": clips are dealt instead, as part of the literature does; validation has as large a
    share of the clips as `validation_subjects` have of the subjects (of a fold, where no clip names
    its subject). People recur, so subject_independent=False.

    `probe_share` of every training subject's clips become `probe` (see `hold_out_probes`).

    `same_takes` are groups of keys of equal content. The first of each is dealt; the others go
    where it went, or if they name another subject or sentence, nowhere.

    Raises:
        UserError: unknown protocol, fold out of range, too few subjects, a clip without a subject,
            two clips with one key, or a share outside [0, 0.5].
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    _check_arguments(labels, folds, fold, validation_subjects, probe_share)
    chosen = PROTOCOLS[protocol]
    ordered, copies = without_copies(labels, same_takes)
    dealt = chosen.deal(ordered, folds, fold, validation_subjects, seed)
    probe = hold_out_probes(dealt.train, share=probe_share, seed=seed)
    contents = [
        tuple(sorted({clip.statement for clip in part}))
        if protocol == "content_independent"
        else ()
        for part in dealt
    ]
    return Split(
        protocol=protocol,
        folds=folds,
        fold=fold,
        seed=seed,
        subject_independent=chosen.subject_independent,
        train=_with_copies({clip.key for clip in dealt.train} - probe, copies),
        probe=_with_copies(probe, copies),
        validation=_with_copies({clip.key for clip in dealt.validation}, copies),
        test=_with_copies({clip.key for clip in dealt.test}, copies),
        train_subjects=_subjects(dealt.train),
        validation_subjects=_subjects(dealt.validation),
        test_subjects=_subjects(dealt.test),
        train_contents=contents[0],
        validation_contents=contents[1],
        test_contents=contents[2],
    )


def _check_arguments(
    labels: Sequence[Labels], folds: int, fold: int, validation_subjects: int, probe_share: float
) -> None:
    if folds < 2:
        raise UserError(f"{folds} folds: at least 2 are needed, one to test and one to train")
    if not 0 <= fold < folds:
        raise UserError(f"fold {fold} does not exist; choose 0 to {folds - 1} of {folds} folds")
    if not 0.0 <= probe_share <= 0.5:
        raise UserError(f"probe share {probe_share} must be between 0 and 0.5")
    if validation_subjects < 1:
        raise UserError(
            f"{validation_subjects} validation subjects: the model is selected on them, give 1"
        )
    repeated = [key for key, count in Counter(clip.key for clip in labels).items() if count > 1]
    if repeated:
        raise UserError(f"{len(repeated)} clip keys occur twice, such as {min(repeated)}")


def hold_out_probes(labels: Sequence[Labels], *, share: float, seed: int) -> set[str]:
    """Keys of the clips, `share` of every subject's, that are kept from training for the probes.

    Whole groups of (emotion, statement, take) go, so that both intensities of a take stay together;
    where a corpus knows neither statement nor take a clip is its own group. A subject's groups go
    in the order: emotions it has given least of, then emotions that all subjects together have
    given the smallest share of, then hash. What rounding to whole groups leaves over or short is
    carried to the next subject. A subject with 4 clips or more gives at least one, and none gives
    its last group away.
    """
    if share == 0.0:
        return set()
    groups: dict[str, dict[tuple[str, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for clip in sorted(labels, key=lambda clip: clip.key):
        take = (clip.statement, clip.take) if clip.statement or clip.take else (clip.key,)
        groups[clip.subject][clip.emotion, *take].append(clip.key)
    emotion_clips = Counter(clip.emotion for clip in labels)
    emotion_held: Counter[str] = Counter()
    held: set[str] = set()
    carried = 0.0
    for subject in sorted(groups, key=lambda name: _order(seed, "probe", name)):
        remaining = dict(groups[subject])
        clips = sum(len(keys) for keys in remaining.values())
        missing = share * clips + carried
        given: Counter[str] = Counter()
        while len(remaining) > 1:
            group = min(
                remaining,
                key=lambda group: (
                    given[group[0]],
                    emotion_held[group[0]] / emotion_clips[group[0]],
                    _order(seed, "probe", subject, *group),
                ),
            )
            size = len(remaining[group])
            must = not given and clips >= _SMALLEST_PROBED_SUBJECT
            if not must and size > 2.0 * missing:
                break
            held.update(remaining.pop(group))
            given[group[0]] += size
            emotion_held[group[0]] += size
            missing -= size
        carried = missing
    return held


def _deal_subjects(
    labels: list[Labels], folds: int, fold: int, validation_subjects: int, seed: int
) -> Dealt:
    nameless = [clip.key for clip in labels if not clip.subject]
    if nameless:
        raise UserError(
            f"{len(nameless)} clips have no subject, such as {nameless[0]}; "
            "subject folds need every one named (or use the protocol leaky)"
        )
    by_sex = _subjects_by_sex(labels)
    count = sum(len(subjects) for subjects in by_sex)
    needed = -(-count // folds) + validation_subjects + 2
    if count < folds or count < needed:
        raise UserError(
            f"{count} subjects are too few for {folds} folds with {validation_subjects} for "
            "validation and at least 2 to train; lower them or add subjects"
        )
    # Dealt one after the other without a restart at each sex: folds differ by one subject at most.
    dealt = [
        subject
        for subjects in by_sex
        for subject in sorted(subjects, key=lambda name: _order(seed, "fold", name))
    ]
    test = set(dealt[fold::folds])
    ranked = []
    for subjects in by_sex:
        rest = sorted(
            (name for name in subjects if name not in test),
            key=lambda name: _order(seed, "validation", fold, name),
        )
        # Ranks as shares of their sex: the first n of all have every sex in proportion.
        ranked += [((rank + 0.5) / len(rest), name) for rank, name in enumerate(rest)]
    ranked.sort(key=lambda item: (item[0], _order(seed, "validation", fold, item[1])))
    validation = {name for _, name in ranked[:validation_subjects]}
    return Dealt(
        train=[clip for clip in labels if clip.subject not in test | validation],
        validation=[clip for clip in labels if clip.subject in validation],
        test=[clip for clip in labels if clip.subject in test],
    )


def group_contents(labels: Sequence[Labels], *, seed: int) -> dict[str, int]:
    """Sentence -> its group, from 0; two groups at least, five at most.

    There are as many groups as the emotion with the fewest sentences has, and in the order of their
    hashes every sentence joins the group that has least of its emotions: where each emotion has
    sentences of its own (eNTERFACE'05), each group has some of every emotion.

    Raises UserError when a clip's sentence is unknown or an emotion has one sentence only.
    """
    unknown = [clip.key for clip in labels if not clip.statement]
    if unknown:
        raise UserError(
            f"{len(unknown)} clips have no sentence, such as {unknown[0]}: "
            "content folds need every one known (or use the protocol subject_independent)"
        )
    emotions: dict[str, set[str]] = defaultdict(set)
    sentences: dict[str, set[str]] = defaultdict(set)
    for clip in labels:
        emotions[clip.statement].add(clip.emotion)
        sentences[clip.emotion].add(clip.statement)
    fewest = min(sentences, key=lambda emotion: (len(sentences[emotion]), emotion), default="")
    count = min(len(sentences[fewest]), _MOST_CONTENT_GROUPS)
    if count < 2:
        raise UserError(
            f"'{fewest}' is spoken with {len(sentences[fewest])} sentence: content folds need two "
            "of every emotion, one to train and one to test"
        )
    groups: dict[str, int] = {}
    load: list[Counter[str]] = [Counter() for _ in range(count)]
    for sentence in sorted(emotions, key=lambda name: _order(seed, "content", name)):
        chosen = min(
            range(count),
            key=lambda group: (
                sum(load[group][emotion] for emotion in emotions[sentence]),
                load[group].total(),
                group,
            ),
        )
        groups[sentence] = chosen
        load[chosen].update(emotions[sentence])
    return groups


def _deal_contents(
    labels: list[Labels], folds: int, fold: int, validation_subjects: int, seed: int
) -> Dealt:
    groups = group_contents(labels, seed=seed)
    count = max(groups.values()) + 1
    if folds % count or folds < 2 * count:
        raise UserError(
            f"{folds} folds: with {count} groups of sentences content folds are a multiple of "
            f"{count}, such as {3 * count}"
        )
    people = _deal_subjects(labels, folds // count, fold // count, validation_subjects, seed)
    tested = fold % count
    # Two groups leave none to select with.
    selecting = {(tested + 1) % count} if count > 2 else {1 - tested}
    training = set(range(count)) - {tested} - (selecting if count > 2 else set())
    dealt = Dealt(
        train=[clip for clip in people.train if groups[clip.statement] in training],
        validation=[clip for clip in people.validation if groups[clip.statement] in selecting],
        test=[clip for clip in people.test if groups[clip.statement] == tested],
    )
    if not all(dealt):
        raise UserError(f"fold {fold} has no clip to train, select or test on: ask for fewer folds")
    return dealt


def _deal_clips(
    labels: list[Labels], folds: int, fold: int, validation_subjects: int, seed: int
) -> Dealt:
    subjects = len(_subjects(labels))
    tested_at_most = -(-len(labels) // folds)
    share = len(labels) * validation_subjects / subjects if subjects else tested_at_most
    in_validation = max(round(share), 1)
    if len(labels) < folds or len(labels) - tested_at_most - in_validation < 1:
        raise UserError(
            f"{len(labels)} clips of {subjects} subjects are too few for {folds} folds with "
            f"{validation_subjects} subjects' share for validation; lower them or add clips"
        )
    shuffled = sorted(labels, key=lambda clip: _order(seed, "clip", clip.key))
    test = shuffled[fold::folds]
    tested = {clip.key for clip in test}
    rest = sorted(
        (clip for clip in labels if clip.key not in tested),
        key=lambda clip: _order(seed, "clip validation", fold, clip.key),
    )
    train = sorted(rest[in_validation:], key=lambda clip: clip.key)
    return Dealt(train, rest[:in_validation], test)


PROTOCOLS: dict[str, SplitProtocol] = {
    "subject_independent": SplitProtocol(_deal_subjects, subject_independent=True),
    "content_independent": SplitProtocol(_deal_contents, subject_independent=True),
    "leaky": SplitProtocol(_deal_clips, subject_independent=False),
}


def _subjects_by_sex(labels: list[Labels]) -> list[list[str]]:
    """Subjects in groups of a known sex, and those of whom it is unknown or contradictory."""
    sexes: dict[str, set[str]] = defaultdict(set)
    for clip in labels:
        sexes[clip.subject] |= {clip.sex} - {""}
    groups: dict[str, list[str]] = defaultdict(list)
    for subject in sorted(sexes):
        known = sexes[subject]
        groups[min(known) if len(known) == 1 else ""].append(subject)
    return [groups[sex] for sex in sorted(groups)]


def _order(*parts: str | int) -> str:
    """A position in a shuffled order that depends on `parts` alone."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


def _with_copies(keys: Iterable[str], copies: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(sorted(other for key in keys for other in (key, *copies.get(key, ()))))


def _subjects(labels: Sequence[Labels]) -> tuple[str, ...]:
    return tuple(sorted({clip.subject for clip in labels} - {""}))


def _assert_disjoint(what: str, **parts: tuple[str, ...]) -> None:
    seen: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name in seen:
                raise AssertionError(f"{what} {name} is in {seen[name]} and in {part}")
            seen[name] = part
