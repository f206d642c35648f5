"""Names of labels and subjects in one spelling, so that one person is one subject."""

import dataclasses
import re
import unicodedata
from collections import Counter, defaultdict

from jax_avemo.data.corpora.scan import Scan, with_notes
from jax_avemo.schema import Labels, Recording

# Fillers and selectors of letters' variants, which show nothing and are no "format" characters.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0]")
_SHOWN_GROUPS = 5


def plain_name(text: str) -> str:
    """A name as it looks: composed letters (NFC), single spaces, no invisible characters.

    Systems store "ë" as one character or as two, and tables carry spaces of no width.
    """
    spaced = "".join(" " if letter.isspace() else letter for letter in text)
    shown = (letter for letter in spaced if unicodedata.category(letter) not in ("Cf", "Cc"))
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", "".join(shown)))
    return " ".join(composed.split())


def take_labels(
    *,
    key: str,
    emotion: str,
    subject: str,
    sex: str = "",
    statement: str = "",
    intensity: str = "",
    take: str = "",
) -> Labels:
    """Labels of a take with every name as `plain_name` has it, the emotion in small letters.

    The key stays as it is: it is the file's path.
    """
    return Labels(
        key=key,
        emotion=plain_name(emotion.casefold()),
        subject=plain_name(subject),
        sex=sex,
        statement=plain_name(statement),
        intensity=plain_name(intensity),
        take=plain_name(take),
    )


def one_spelling(scan: Scan) -> Scan:
    """The same with subjects, and statements, that differ only in letter case as one, and a note.

    Two spellings of one person on both sides of a split would be a leak; two people as one
    subject cost little. The commonest spelling stays.
    """
    notes = []
    for field, one in (("subject", "subject"), ("statement", "content")):
        renamed = _renamed([getattr(item.labels, field) for item in _everything(scan)])
        if not renamed:
            continue
        groups = defaultdict(list)
        for name, chosen in sorted(renamed.items()):
            groups[chosen].append(name)
        shown = "; ".join(", ".join(names) for names in list(groups.values())[:_SHOWN_GROUPS])
        more = ", ..." if len(groups) > _SHOWN_GROUPS else ""
        notes.append(
            f"names that differ only in letter case count as one {one} (rename them if they are "
            f"not): {shown}{more}"
        )
        scan = dataclasses.replace(
            scan,
            recordings=tuple(_rename(item, field, renamed) for item in scan.recordings),
            long_sessions=tuple(_rename(item, field, renamed) for item in scan.long_sessions),
        )
    return with_notes(scan, notes)


def _everything(scan: Scan) -> tuple[Recording, ...]:
    return (*scan.recordings, *scan.long_sessions)


def _renamed(names: list[str]) -> dict[str, str]:
    """Spelling -> the chosen one, of the names that are spelled in several ways."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        spellings[name.casefold()][name] += 1
    return {
        name: min(counts, key=lambda spelling: (-counts[spelling], spelling))
        for counts in spellings.values()
        if len(counts) > 1
        for name in counts
    }


def _rename(item: Recording, field: str, renamed: dict[str, str]) -> Recording:
    name = getattr(item.labels, field)
    labels = dataclasses.replace(item.labels, **{field: renamed.get(name, name)})
    return dataclasses.replace(item, labels=labels)
