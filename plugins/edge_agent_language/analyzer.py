"""Features, int8 invoke, sigmoid: one reading of what an utterance expresses, or why there is none.

The network reads 48 words at once, as long as the longest of its training texts. A longer text is read in parts that
end where a sentence does; its probabilities are the parts' means, weighted by their words. Nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edge_agent.domain.errors import ModelError
from edge_agent.domain.observation import LANGUAGE, LANGUAGE_EMOTIONS, LANGUAGE_UNKNOWN, Observation
from edge_agent.domain.speech import Utterance
from edge_agent.models import TfliteModel
from edge_agent.plugin import AnalyzerContext, TextAnalyzer
from edge_agent_language import MODEL, LanguageSettings
from edge_agent_language.english import English, Reason, doubt, is_code
from edge_agent_language.features import WORDS, Features, Vocabulary, negated, normalized, tokens, word

LONGEST = 200_000
"""Characters of a text that are read; the rest is not."""
PARTS = 256
"""Parts of a long text that are judged, spread over it."""
_LONGEST_WORD = 40
"""Letters of the longest word, one drawn out included; more of them are no word."""
_ENDS = frozenset(".!?…\n")
_DENIABLE = np.isin(
    LANGUAGE_EMOTIONS,
    (
        "admiration", "amusement", "anger", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief",
        "joy", "love", "nervousness", "pride", "remorse", "sadness", "surprise",
    ),
)  # fmt: skip
"""Emotions told by words that a negation takes back; others, as disapproval and confusion, are told by negations."""
_NEUTRAL = LANGUAGE_EMOTIONS.index("neutral")
_GONE = 0.25
"""Probability that a negation must take away for the rest to be more neutral."""


class EmotionNetwork:
    """The network alone: tokens in, probabilities out. Evaluation and the analyzer share it."""

    def __init__(self, context: AnalyzerContext) -> None:
        self._model = TfliteModel(context.models.locate(MODEL), threads=context.threads)
        with resources.files(__package__).joinpath("language.npz").open("rb") as file, np.load(file) as kept:
            self.vocabulary = Vocabulary.of(kept["words"], kept["grams"])
            self.thresholds: npt.NDArray[np.float32] = kept["thresholds"]
        if tuple(info.dtype for info in self._model.outputs) != (np.dtype(np.int8),):
            raise ModelError("the language model has not one int8 output; reinstall it")
        self._order = _order(self._model)

    def read(self, written: Sequence[str]) -> npt.NDArray[np.float64]:
        """What at most 48 tokens express: float64 [28] over :data:`LANGUAGE_EMOTIONS`, each 0 to 1 by itself.

        The network reads most words alike with a negation before them. A feeling that is only there with the words that
        are denied is not expressed; what takes its place is not known, so that the rest may be neutral.
        """
        found = self(self.vocabulary.rows(written))
        denied = negated(written[:WORDS])
        if not denied:
            return found
        others = self(self.vocabulary.rows([token for k, token in enumerate(written[:WORDS]) if k not in denied]))
        less = np.where(_DENIABLE, np.minimum(found, others), found)
        if (gone := (found - less).max()) > _GONE:
            less[_NEUTRAL] = max(found[_NEUTRAL], min(others[_NEUTRAL], gone))
        return less

    def __call__(self, features: Features) -> npt.NDArray[np.float64]:
        """Probabilities, float64 [28], of features as they are."""
        inputs = features.inputs()
        (logits,) = self._model(*(inputs[k] for k in self._order))
        return np.asarray(1 / (1 + np.exp(-logits.reshape(-1).astype(np.float64))))


def _order(model: TfliteModel) -> list[int]:
    """Which of :meth:`Features.inputs` goes where: the converter orders a model's inputs as it likes.

    Raises:
        ModelError: the inputs are others.
    """
    wanted = [
        (part.shape, part.dtype == np.float32)
        for part in Features(np.zeros(0, np.int32), np.zeros(0, np.int32)).inputs()
    ]
    given = [(info.shape, info.scale is not None) for info in model.inputs]
    if sorted(given) != sorted(wanted):
        raise ModelError("the language model has other inputs than expected; reinstall it")
    return [wanted.index(one) for one in given]


class LanguageAnalyzer(TextAnalyzer):
    """See the package's docstring."""

    def __init__(self, settings: LanguageSettings, context: AnalyzerContext) -> None:
        self._least = settings.min_words
        self._model = EmotionNetwork(context)
        self._english = English.bundled()

    def analyze(self, utterance: Utterance) -> Sequence[Observation]:
        """One reading, or one that names the reason why there is none."""
        text = utterance.text[:LONGEST]
        written = tokens(normalized(text))
        reason = self._doubt(text, written)
        if reason is not None:
            return (Observation(LANGUAGE_UNKNOWN, {reason: 1.0}, utterance.start),)
        pieces = list(parts(written))
        pieces = pieces[:: -(-len(pieces) // PARTS)]
        p = np.average([self._model.read(part) for part in pieces], 0, [*map(len, pieces)])
        values = {name: float(value) for name, value in zip(LANGUAGE_EMOTIONS, p, strict=True)}
        return (Observation(LANGUAGE, values, utterance.start),)

    def self_check(self) -> None:
        """Plain thanks must be found thankful.

        Raises:
            ModelError: they are not.
        """
        p = self._model.read(tokens("Thank you so much!"))
        if p.shape != (len(LANGUAGE_EMOTIONS),) or LANGUAGE_EMOTIONS[int(p.argmax())] != "gratitude":
            raise ModelError("the language model finds no gratitude in plain thanks; reinstall it")

    def _doubt(self, text: str, written: Sequence[str]) -> Reason | None:
        if not text.strip("\0 \t\r\n"):
            return "empty"
        said = [token for token in written if token[0].isalpha()]
        if len(said) < self._least:
            return "too_short"
        if is_code(text, len(said)):
            return "not_english"
        known = self._model.vocabulary.known(word(token) if len(token) <= _LONGEST_WORD else "" for token in said)
        return doubt([token.lower() for token in said], known, self._english)


def parts(written: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut tokens into parts of at most :data:`WORDS`, after the end of a sentence where there is one in reach."""
    begin = 0
    ends = [k + 1 for k, token in enumerate(written) if token[0] in _ENDS] + [len(written)]
    for end, following in pairwise([*ends, len(written) + WORDS + 1]):
        while end - begin > WORDS:
            yield written[begin : begin + WORDS]
            begin += WORDS
        if following - begin > WORDS and end > begin:
            yield written[begin:end]
            begin = end
