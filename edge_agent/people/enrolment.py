"""Enroll people: pictures of one person become one template, or are refused with what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_agent.domain.face import Face
from edge_agent.domain.media import Frame
from edge_agent.people.custody import new_person
from edge_agent.people.sealing import Enrolled, PeopleError
from edge_agent.plugin.spec import Embedding, FaceRecognizer, UnfitFaceError

Vector = npt.NDArray[np.float32]

SAME = 0.45
"""Least similarity of a picture to the others of its person; less means that it shows somebody else."""

GOOD_LOOKS = 8
"""Pictures taken from a camera."""

Detect = Callable[[Frame], Sequence[Face]]


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A picture and how messages call it."""

    name: str
    frame: Frame


def main_faces(faces: Sequence[Face]) -> list[Face]:
    """The faces that a picture is of: at least two thirds as wide as the widest; not passers-by behind."""
    widest = max((face.box.w for face in faces), default=0.0)
    return [face for face in faces if face.box.w >= widest * 2 / 3]


def embed_all(pictures: Iterable[Photo], detect: Detect, recognizer: FaceRecognizer) -> list[Embedding]:
    """Embed the one face of each picture.

    Raises:
        PeopleError: a picture shows nobody, several people, or a face that cannot be used; names it and says why.
    """
    found = []
    for picture in pictures:
        faces = main_faces(detect(picture.frame))
        if len(faces) != 1:
            what = "shows no face" if not faces else f"shows {len(faces)} faces"
            raise PeopleError(f"{picture.name} {what}: give pictures of the one person alone")
        try:
            found.append(recognizer.embed(picture.frame, faces[0]))
        except UnfitFaceError as error:
            raise PeopleError(f"{picture.name}: {error}") from None
    return found


def embed_from_camera(
    frames: Iterable[Frame], detect: Detect, recognizer: FaceRecognizer, tell: Callable[[str], None]
) -> list[Embedding]:
    """Take :data:`GOOD_LOOKS` looks at the one person before the camera; ``tell`` receives what hinders.

    Raises:
        PeopleError: the camera ended before there were enough.
    """
    found: list[Embedding] = []
    told = ""
    for frame in frames:
        faces = main_faces(detect(frame))
        why = "" if len(faces) == 1 else "nobody is in view" if not faces else "more than one person is in view"
        if not why:
            try:
                found.append(recognizer.embed(frame, faces[0]))
            except UnfitFaceError as error:
                why = str(error)
        if why and why != told:
            tell(why)
        told = why
        if len(found) == GOOD_LOOKS:
            return found
    raise PeopleError(f"only {len(found)} of {GOOD_LOOKS} good looks: {told or 'the camera ended'}")


def make_person(
    name: str,
    embeddings: Sequence[Embedding],
    enrolled: Sequence[Enrolled],
    alike: float,
    now: float,
    agreed: str,
) -> Enrolled:
    """Make a person of embeddings, checked against each other and against everybody ``enrolled``.

    ``alike``: similarity from which two faces are taken for one person.

    Raises:
        PeopleError: the pictures show several people, or somebody who is enrolled under another name.
    """
    if not embeddings:
        raise PeopleError("give at least one picture")
    network = embeddings[0].network
    vectors = [embedding.vector for embedding in embeddings]
    for number, vector in enumerate(vectors):
        others = [float(vector @ other) for k, other in enumerate(vectors) if k != number]
        if others and float(np.median(others)) < SAME:
            raise PeopleError(f"picture {number + 1} shows somebody else than the others, or shows them badly")
    person = new_person(name, network, vectors, now, agreed)
    for other in enrolled:
        if other.network == network and other.name.casefold() != person.name.casefold():
            similarity = float(person.template @ other.template)
            if similarity >= alike:
                raise PeopleError(
                    f"the pictures look like {other.name} ({similarity:.2f}): the two could not be told apart. Forget "
                    "one of them, or use clearer pictures"
                )
    return person
