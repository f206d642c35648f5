"""Splits: nobody in two parts, everybody tested once, balanced, and the same everywhere."""

import dataclasses
import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_avemo.data.splits import PROTOCOLS, Split, group_contents, hold_out_probes, split_clips
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import dumps, from_json
from jax_avemo.schema import RAVDESS_EMOTIONS, Labels


def ravdess(actors: int = 24) -> list[Labels]:
    """60 takes an actor: neutral has no strong intensity; odd actors are men."""
    return [
        Labels(
            key=f"Actor_{actor:02d}/{emotion}-{intensity}-{statement}-{take}",
            emotion=emotion,
            subject=f"{actor:02d}",
            sex="male" if actor % 2 else "female",
            statement=statement,
            intensity=intensity,
            take=take,
        )
        for actor in range(1, actors + 1)
        for emotion in RAVDESS_EMOTIONS
        for intensity in (("normal",) if emotion == "neutral" else ("normal", "strong"))
        for statement in ("kids", "dogs")
        for take in ("1", "2")
    ]


def people(subjects: int, clips: int) -> list[Labels]:
    """A plain corpus of which sexes, statements and takes are unknown."""
    return [
        Labels(key=f"{subject}/{clip}", emotion="ab"[clip % 2], subject=f"s{subject}")
        for subject in range(subjects)
        for clip in range(clips)
    ]


def split(labels, **changes) -> Split:
    given_values = {
        "protocol": "subject_independent",
        "folds": 6,
        "fold": 0,
        "validation_subjects": 4,
        "seed": 0,
    }
    return split_clips(labels, **(given_values | changes))


def sexes(subjects) -> Counter:
    return Counter("male" if int(name) % 2 else "female" for name in subjects)


RAVDESS = ravdess()
BY_KEY = {clip.key: clip for clip in RAVDESS}
GOLDEN_TEST_SUBJECTS = ("02", "14", "17", "21")
GOLDEN_VALIDATION_SUBJECTS = ("08", "13", "15", "18")
GOLDEN_PROBE = (
    "Actor_01/angry-normal-kids-1",
    "Actor_01/angry-strong-kids-1",
    "Actor_01/calm-normal-dogs-1",
    "Actor_01/calm-strong-dogs-1",
)


class TestSubjectFolds:
    @pytest.mark.parametrize(
        ("folds", "sizes", "seed"),
        [(6, (16, 4, 4), 0), (6, (16, 4, 4), 7), (3, (12, 4, 8), 0), (3, (12, 4, 8), 7)],
    )
    def test_ravdess_sizes_have_as_many_men_as_women(self, folds, sizes, seed):
        for fold in range(folds):
            chosen = split(RAVDESS, folds=folds, fold=fold, seed=seed)
            parts = (chosen.train_subjects, chosen.validation_subjects, chosen.test_subjects)
            assert tuple(len(part) for part in parts) == sizes
            for part, size in zip(parts, sizes, strict=True):
                assert sexes(part) == {"male": size // 2, "female": size // 2}

    def test_every_clip_is_in_exactly_one_part_with_its_subject(self):
        chosen = split(RAVDESS, fold=2)
        parts = (
            (chosen.train + chosen.probe, chosen.train_subjects),
            (chosen.validation, chosen.validation_subjects),
            (chosen.test, chosen.test_subjects),
        )
        assert sorted(key for keys, _ in parts for key in keys) == sorted(BY_KEY)
        for keys, subjects in parts:
            assert {BY_KEY[key].subject for key in keys} == set(subjects)

    def test_is_what_it_always_was(self):
        """A golden value: published folds must not move with a Python or library version."""
        assert split(RAVDESS).test_subjects == GOLDEN_TEST_SUBJECTS
        assert split(RAVDESS).validation_subjects == GOLDEN_VALIDATION_SUBJECTS
        assert split(RAVDESS).probe[:4] == GOLDEN_PROBE

    def test_another_seed_is_another_split(self):
        assert split(RAVDESS, seed=1).test_subjects != split(RAVDESS, seed=0).test_subjects

    def test_a_subject_of_two_sexes_counts_as_unknown(self):
        odd = [dataclasses.replace(RAVDESS[0], sex="female"), *RAVDESS[1:]]
        tested = [name for fold in range(6) for name in split(odd, fold=fold).test_subjects]
        assert sorted(tested) == sorted({clip.subject for clip in RAVDESS})

    @settings(max_examples=40, deadline=None)
    @given(
        sex_of=st.lists(st.sampled_from(["female", "male", ""]), min_size=6, max_size=40),
        folds=st.integers(2, 6),
        validation=st.integers(1, 4),
        seed=st.integers(0, 99),
        shuffle=st.randoms(use_true_random=False),
    )
    def test_properties(self, sex_of, folds, validation, seed, shuffle: random.Random):
        labels = [
            Labels(key=f"{subject}/{emotion}", emotion=emotion, subject=str(subject), sex=sex)
            for subject, sex in enumerate(sex_of)
            for emotion in "abc"
        ]
        wanted = {"folds": folds, "validation_subjects": validation, "seed": seed}
        if -(-len(sex_of) // folds) + validation + 2 > len(sex_of):
            with pytest.raises(UserError, match="too few"):
                split(labels, **wanted)
            return
        splits = [split(labels, fold=fold, **wanted) for fold in range(folds)]
        tested = Counter(name for one in splits for name in one.test_subjects)
        assert tested == Counter(str(subject) for subject in range(len(sex_of)))
        for one in splits:
            assert len(one.validation_subjects) == validation
            assert not set(one.train_subjects) & set(one.test_subjects)
            assert not set(one.train_subjects) & set(one.validation_subjects)
            assert not set(one.validation_subjects) & set(one.test_subjects)
        sizes = [len(one.test_subjects) for one in splits]
        assert max(sizes) - min(sizes) <= 1
        for sex in ("female", "male", ""):
            counts = [sum(sex_of[int(name)] == sex for name in s.test_subjects) for s in splits]
            assert max(counts) - min(counts) <= 1
        shuffled = labels.copy()
        shuffle.shuffle(shuffled)
        assert split(shuffled, **wanted) == splits[0]


def enterface05() -> list[Labels]:
    """42 people say five sentences of each emotion's own."""
    return [
        Labels(
            key=f"{subject:02d}/{emotion}/{sentence}",
            emotion=emotion,
            subject=f"{subject:02d}",
            statement=f"{emotion} {sentence}",
        )
        for subject in range(42)
        for emotion in ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
        for sentence in range(1, 6)
    ]


def crema_d() -> list[Labels]:
    """20 people say twelve sentences in six emotions."""
    return [
        Labels(key=f"{s}/{word}/{e}", emotion=e, subject=f"{s:02d}", statement=f"w{word}")
        for s in range(20)
        for word in range(12)
        for e in "abcdef"
    ]


class TestContent:
    @pytest.mark.parametrize(
        ("labels", "folds", "groups", "sizes"),
        [
            (RAVDESS, 12, 2, (16 * 30, 4 * 30, 4 * 30)),
            (RAVDESS, 6, 2, (12 * 30, 4 * 30, 8 * 30)),
            (enterface05(), 25, 5, (29 * 18, 4 * 6, 9 * 6)),
            (crema_d(), 25, 5, None),
        ],
        ids=["ravdess", "ravdess in 6", "enterface05", "crema_d"],
    )
    def test_neither_person_nor_words_are_shared(self, labels, folds, groups, sizes):
        by_key = {clip.key: clip for clip in labels}
        emotions = {clip.emotion for clip in labels}
        tested: Counter[str] = Counter()
        for fold in range(folds):
            chosen = split(labels, protocol="content_independent", folds=folds, fold=fold)
            assert chosen.subject_independent
            parts = [
                [by_key[key] for key in keys]
                for keys in (chosen.train + chosen.probe, chosen.validation, chosen.test)
            ]
            people = [{clip.subject for clip in part} for part in parts]
            words = [{clip.statement for clip in part} for part in parts]
            assert not people[0] & people[2]
            assert not people[0] & people[1]
            assert not people[1] & people[2]
            assert not words[0] & words[2]
            assert not words[1] & words[2]
            assert bool(words[0] & words[1]) == (groups == 2)
            assert all({clip.emotion for clip in part} == emotions for part in parts)
            assert chosen.test_contents == tuple(sorted(words[2]))
            assert chosen.train_contents == tuple(sorted(words[0]))
            if fold == 0 and sizes:
                assert tuple(map(len, parts)) == sizes
            tested.update(chosen.test)
        assert tested == Counter(by_key.keys())

    def test_sentences_of_one_emotion_alone_are_spread_over_the_groups(self):
        groups = group_contents(enterface05(), seed=3)
        assert Counter(groups.values()) == dict.fromkeys(range(5), 6)
        for group in range(5):
            assert len({name.split()[0] for name, of in groups.items() if of == group}) == 6

    def test_order_of_clips_does_not_matter_but_the_seed_does(self):
        labels = crema_d()
        assert group_contents(labels[::-1], seed=0) == group_contents(labels, seed=0)
        assert group_contents(labels, seed=0) != group_contents(labels, seed=1)
        assert sorted(Counter(group_contents(labels, seed=0).values()).values()) == [2, 2, 2, 3, 3]

    @pytest.mark.parametrize(
        ("labels", "folds", "says"),
        [
            (RAVDESS, 7, "with 2 groups of sentences content folds are a multiple of 2, such as 6"),
            (RAVDESS, 2, "a multiple of 2, such as 6"),
            (RAVDESS, 60, "too few for 30 folds"),
            (people(6, 10), 4, "60 clips have no sentence, such as 0/0"),
            (
                [clip for clip in RAVDESS if (clip.emotion, clip.statement) != ("sad", "dogs")],
                12,
                "'sad' is spoken with 1 sentence: content folds need two",
            ),
            ([], 4, "spoken with 0 sentence"),
        ],
    )
    def test_where_it_cannot_be_it_says_why(self, labels, folds, says):
        with pytest.raises(UserError, match=says):
            split(labels, protocol="content_independent", folds=folds)

    def test_a_fold_without_clips_is_refused(self):
        labels = [c for c in RAVDESS if c.statement == "kids" or c.subject == "01"]
        wanted = {"protocol": "content_independent", "folds": 12}
        whole = split(RAVDESS, **wanted, fold=group_contents(RAVDESS, seed=0)["dogs"])
        assert "01" not in whole.test_subjects
        with pytest.raises(UserError, match="has no clip to train, select or test on"):
            split(labels, **wanted, fold=whole.fold)


class TestLeaky:
    def test_is_marked_and_mixes_people(self):
        chosen = split(RAVDESS, protocol="leaky")
        assert not chosen.subject_independent
        assert set(chosen.test_subjects) & set(chosen.train_subjects)

    def test_every_clip_is_tested_once(self):
        tested = [
            key for fold in range(6) for key in split(RAVDESS, protocol="leaky", fold=fold).test
        ]
        assert sorted(tested) == sorted(BY_KEY)

    def test_parts_have_the_shares_of_the_subject_protocol(self):
        chosen = split(RAVDESS, protocol="leaky")
        assert (len(chosen.test), len(chosen.validation)) == (240, 240)
        assert len(chosen.train) + len(chosen.probe) == 960

    def test_does_not_need_subjects(self):
        nameless = [dataclasses.replace(clip, subject="") for clip in people(6, 10)]
        chosen = split(nameless, protocol="leaky", folds=3)
        assert (len(chosen.test), len(chosen.validation)) == (20, 20)
        assert chosen.train_subjects == ()


class TestProbes:
    def test_keep_a_share_of_every_training_subject(self):
        chosen = split(RAVDESS)
        held = Counter(BY_KEY[key].subject for key in chosen.probe)
        assert set(held) == set(chosen.train_subjects)
        assert set(held.values()) <= {8, 9, 10}
        assert sum(held.values()) == pytest.approx(0.15 * 960, abs=1)
        assert not set(chosen.probe) & set(chosen.train)

    def test_keep_both_intensities_of_a_take_together(self):
        chosen = split(RAVDESS)

        def takes(keys):
            fields = ("subject", "emotion", "statement", "take")
            return {tuple(getattr(BY_KEY[key], field) for field in fields) for key in keys}

        assert not takes(chosen.probe) & takes(chosen.train)

    def test_are_spread_over_emotions(self):
        held = Counter(BY_KEY[key].emotion for key in split(RAVDESS).probe)
        clips = {emotion: 64 if emotion == "neutral" else 128 for emotion in RAVDESS_EMOTIONS}
        shares = [held[emotion] / count for emotion, count in clips.items()]
        assert max(shares) - min(shares) < 0.04

    def test_share_zero_keeps_none(self):
        assert split(RAVDESS, probe_share=0.0).probe == ()

    def test_unknown_takes_are_held_out_clip_by_clip(self):
        assert len(hold_out_probes(people(10, 20), share=0.15, seed=0)) == 30

    def test_one_take_is_never_given_away_whole(self):
        labels = [
            Labels(key=str(clip), emotion="a", subject="x", statement="s", take="1")
            for clip in range(5)
        ]
        assert hold_out_probes(labels, share=0.5, seed=0) == set()

    @settings(max_examples=40, deadline=None)
    @given(
        clips=st.lists(
            st.tuples(
                st.integers(0, 5),
                st.sampled_from("abc"),
                st.sampled_from("xy"),
                st.sampled_from("12"),
            ),
            min_size=1,
            max_size=80,
        ),
        share=st.floats(0.01, 0.5),
        seed=st.integers(0, 99),
    )
    def test_properties(self, clips, share, seed):
        labels = [
            Labels(key=f"{n:03d}", emotion=emotion, subject=str(subject), statement=s, take=take)
            for n, (subject, emotion, s, take) in enumerate(clips)
        ]
        held = hold_out_probes(labels, share=share, seed=seed)
        assert held == hold_out_probes(labels[::-1], share=share, seed=seed)
        for subject in {clip.subject for clip in labels}:
            theirs = [clip for clip in labels if clip.subject == subject]
            kept = {(c.emotion, c.statement, c.take) for c in theirs if c.key not in held}
            given_away = {(c.emotion, c.statement, c.take) for c in theirs if c.key in held}
            assert kept
            assert not kept & given_away
            if len(theirs) >= 4 and len(kept | given_away) > 1:
                assert given_away


class TestSplit:
    @pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
    def test_survives_json(self, protocol):
        chosen = split(RAVDESS, protocol=protocol)
        assert from_json(Split, json.loads(dumps(chosen))) == chosen

    def test_refuses_a_subject_in_training_and_test(self):
        chosen = split(RAVDESS)
        with pytest.raises(AssertionError, match="is in train and in test"):
            dataclasses.replace(chosen, test_subjects=chosen.train_subjects[:1])

    def test_refuses_a_sentence_in_training_and_test(self):
        chosen = split(RAVDESS, protocol="content_independent")
        with pytest.raises(AssertionError, match="sentence dogs is in train and in test"):
            dataclasses.replace(chosen, train_contents=("dogs",), test_contents=("dogs",))

    def test_refuses_a_clip_in_two_parts_even_of_a_leaky_split(self):
        chosen = split(RAVDESS, protocol="leaky")
        with pytest.raises(AssertionError, match="is in probe and in test"):
            dataclasses.replace(chosen, test=chosen.probe[:1])


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"protocol": "speaker"}, "choose one of subject_independent"),
            ({"fold": 6}, "choose 0 to 5"),
            ({"fold": -1}, "choose 0 to 5"),
            ({"folds": 1}, "at least 2"),
            ({"folds": 30}, "too few"),
            ({"validation_subjects": 19}, "too few"),
            ({"validation_subjects": 0}, "give 1"),
            ({"probe_share": 0.9}, "between 0 and 0.5"),
            ({"protocol": "leaky", "validation_subjects": 24}, "too few"),
        ],
    )
    def test_are_named_with_the_remedy(self, changes, message):
        with pytest.raises(UserError, match=message):
            split(RAVDESS, **changes)

    def test_a_clip_without_a_subject(self):
        with pytest.raises(UserError, match="have no subject"):
            split([*RAVDESS, Labels(key="x.mp4", emotion="calm", subject="")])

    def test_a_key_that_occurs_twice(self):
        with pytest.raises(UserError, match="occur twice"):
            split([*RAVDESS, RAVDESS[0]])

    def test_no_clips_at_all(self):
        with pytest.raises(UserError, match="too few"):
            split([])
