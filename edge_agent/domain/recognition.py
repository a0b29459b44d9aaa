"""Sums of recognised people, and what may be told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.domain.observation import EMOTIONS


@dataclass(frozen=True, slots=True)
class PersonSums:
    """Sums of one recognised person: ``seconds`` in view and what their face expressed, as in :class:`EmotionSums`."""

    seconds: float = 0.0
    weight: float = 0.0
    p: tuple[float, ...] = (0.0,) * len(EMOTIONS)

    def __add__(self, other: PersonSums) -> PersonSums:
        p = tuple(x + y for x, y in zip(self.p, other.p, strict=True))
        return PersonSums(self.seconds + other.seconds, self.weight + other.weight, p)


@dataclass(frozen=True, slots=True)
class IdentitySums:
    """Sums of recognition: person-seconds of enrolled people and of others, and the ``most`` enrolled people at once.

    ``people`` by name, only where identities may be joined with emotions.
    """

    known: float = 0.0
    unknown: float = 0.0
    most: int = 0
    people: Mapping[str, PersonSums] = field(default_factory=dict)

    def __add__(self, other: IdentitySums) -> IdentitySums:
        names = sorted({*self.people, *other.people})
        none = PersonSums()
        people = {name: self.people.get(name, none) + other.people.get(name, none) for name in names}
        most = max(self.most, other.most)
        return IdentitySums(self.known + other.known, self.unknown + other.unknown, most, people)


@dataclass(frozen=True, slots=True)
class Naming:
    """What may be told of recognised people. ``name`` returns the name that belongs to a key, None when nobody has it;
    ``published``: names may leave the device; ``joined``: also together with expressions."""

    name: Callable[[str], str | None] = lambda _key: None
    published: bool = False
    joined: bool = False

    def names(self, keys: Sequence[str]) -> tuple[str, ...] | None:
        """The names that belong to ``keys``, sorted; None where names may not be told."""
        if not self.published:
            return None
        return tuple(sorted({name for name in map(self.name, keys) if name is not None}))
