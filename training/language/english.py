"""Train the detector of English that stands before the model.

    pip download --no-deps django==5.2 stopwordsiso==0.7.1; unzip both to FOLDER
    python -m training.language.english --texts FOLDER --data ../shared/data/goemotions \\
        --out plugins/edge_agent_language/english.npz

English is GoEmotions' training split, in spans of 1 to 12 words. Other languages in Latin letters are the translations
of Django (BSD-3-Clause), strings of frequent words (stopwords-iso, MIT), and of romanised Hindi and Urdu listed below.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from edge_agent_language.english import BUCKETS, buckets
from edge_agent_language.features import normalized, tokens
from training.language.dataset import load

ROMANISED = (  # noqa: SIM905
    "mujhe tumhe tumhara hai hain hoon tha thi the nahi nahin haan kya kyun kyon kaise kab kahan kaun mera "
    "meri mere tera teri tere apna apni aap tum hum woh yeh wo ye ki ka ke ko se mein par aur lekin magar phir "
    "bhi toh bahut bohot accha acha achha bura dukh khush khushi pyaar pyar dil dost yaar bhai behen maa papa "
    "ghar kaam paani khana raat din aaj kal abhi sab kuch koi kisi jab tab agar matlab samajh pata chalo chal "
    "karo karna karta karti karte raha rahi rahe gaya gayi gaye liya diya kiya hua hui hue jao aao dekho suno "
    "bolo baat shukriya dhanyavaad namaste alvida theek thik zindagi duniya log ladka ladki paisa sach jhooth "
    "galat sahi naya purana bada chota sundar jaldi dheere bilkul shayad zaroor kripya maaf ho sakta sakti "
    "sakte chahiye wala wali wale bas itna kitna jaisa waisa unka uska inka iska main hamara humko usko isko "
    "apko aapka "
).split()
_SPAN = 12


def words(text: str) -> list[str]:
    """Words in lower case."""
    return [token.lower() for token in tokens(normalized(text)) if token[0].isalpha()]


def translations(folder: Path) -> Iterator[str]:
    """Translated strings of ``.po`` files of other languages than English."""
    for path in sorted(folder.rglob("*.po")):
        if path.parts[path.parts.index("locale") + 1].startswith("en"):
            continue
        current: list[str] | None = None
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("msgstr"):
                current = [ast.literal_eval(line.split(" ", 1)[1])]
            elif line.startswith('"') and current is not None:
                current.append(ast.literal_eval(line))
            elif current is not None:
                yield "".join(current)
                current = None


def spans(found: list[str], generator: np.random.Generator) -> Iterator[list[str]]:
    """A text cut in pieces of random length."""
    begin = 0
    while begin < len(found):
        size = int(generator.integers(1, _SPAN + 1))
        yield found[begin : begin + size]
        begin += size


def strings(frequent: list[str], count: int, generator: np.random.Generator) -> Iterator[list[str]]:
    """Frequent words of a language in random order."""
    for _ in range(count):
        yield [frequent[k] for k in generator.integers(0, len(frequent), int(generator.integers(2, 9)))]


def foreign(folder: Path, generator: np.random.Generator) -> Iterator[list[str]]:
    """Spans that are not English."""
    lists = json.loads(next(folder.rglob("stopwords-iso.json")).read_text("utf-8"))
    english = set(lists.pop("en"))
    for text in translations(folder):
        found = words(text)
        if found and all(word.isascii() or word < "\u0250" for word in found) and not set(found) <= english:
            yield from spans(found, generator)
    for frequent in [*lists.values(), ROMANISED, ROMANISED, ROMANISED]:
        own = [
            word for word in frequent if word not in english and word < "\u0250" and word.isalpha() and len(word) > 1
        ]
        if len(own) > 20:
            yield from strings(own, 1500, generator)


def matrix(texts: list[list[str]]) -> scipy.sparse.csr_matrix:
    """[n, buckets]: how often each piece occurs, divided by the number of words."""
    places = [[place for word in text for place in buckets(word)] for text in texts]
    values = np.concatenate([np.full(len(row), 1 / len(text)) for row, text in zip(places, texts, strict=True)])
    ends = np.cumsum([0, *map(len, places)])
    return scipy.sparse.csr_matrix((values, np.concatenate(places), ends), (len(texts), BUCKETS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    generator = np.random.default_rng(0)
    written = [words(text) for text in load(args.data / "goemotions_train.tsv").texts]
    english = [span for found in written for span in spans(found, generator)]
    other = list(foreign(args.texts, generator))
    generator.shuffle(other)
    other = other[:100_000]
    x = matrix(english + other)
    y = np.concatenate([np.ones(len(english)), np.zeros(len(other))])
    model = LogisticRegression(C=1.0, solver="liblinear", class_weight="balanced").fit(x, y)
    weights = model.coef_[0]
    scale = float(np.abs(weights).max() / 127)
    np.savez_compressed(
        args.out, weights=np.rint(weights / scale).astype(np.int8), scale=scale, bias=model.intercept_[0]
    )
    right = model.predict(x) == y
    print(f"English {right[y == 1].mean():.4f} of {len(english)}, other {right[y == 0].mean():.4f} of {len(other)}")


if __name__ == "__main__":
    main()
