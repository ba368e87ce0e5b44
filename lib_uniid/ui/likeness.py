"""The result of the check of a picture in words, with advice."""

from dataclasses import dataclass

from lib_uniid.evaluation.presence import Appearance, Presence

GOOD, FAIR = 0.6, 0.45
"""Limits of the cosine similarity. Two pictures of one person reach 0.83 with a narrow recogniser, two people
are near 0 (benchmarks/RESULTS.md). A distorted face can reach 0.36, which is above the limit of 0.3 for one
person and still a weak likeness."""

ADVICE = "try another seed, a larger identity scale or weight, or a region for each person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence; ``kind`` is ``good``, ``note`` or ``bad``."""

    kind: str
    sentence: str


def verdicts(presence: Presence) -> list[Verdict]:
    """One verdict per person, in the order of the request."""
    return [_verdict(one) for one in presence.people]


def _verdict(person: Appearance) -> Verdict:
    if person.unchecked is not None:
        return Verdict(kind="note", sentence=f"{person.name} not checked: {person.unchecked}")
    if person.face is None:
        return Verdict(kind="bad", sentence=f"{person.name} not found; {ADVICE}")
    similarity = person.similarity or 0.0
    words = "good" if similarity >= GOOD else "fair" if similarity >= FAIR else "weak"
    kind = {"good": "good", "fair": "note", "weak": "bad"}[words]
    sentence = f"{person.name} found, {words} likeness (similarity {similarity:.2f})"
    if words == "weak":
        sentence += f"; {ADVICE}"
    if person.doubles:
        kind = "note" if kind == "good" else kind
        sentence += f"; appears {len(person.doubles) + 1} times, try another seed or a region"
    return Verdict(kind=kind, sentence=sentence)
