"""How much of a catalog a language model knew before: titles that it recites, and tells from others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.errors import ConfigError, DataError
from llmrec.evaluate.metrics import Float64Array
from llmrec.evaluate.significance import Interval, bootstrap_interval
from llmrec.evaluate.strata import popularity_strata
from llmrec.types import Int32Array, Int64Array

if TYPE_CHECKING:
    from llmrec.data import Catalog
    from llmrec.models import LanguageModel

__all__ = ["Memorisation", "memorisation", "obfuscated"]

LEAD = "Title:"
"""What stands before the half that is shown."""

WORDS = 8
"""Words of a title that are read: the first ones."""

_ARTICLE_LAST = re.compile(r"(.+), (The|A|An)")


@dataclass(frozen=True, slots=True, eq=False)
class Memorisation:
    """What `memorisation` found, a value a title.

    Attributes:
        model: the model's name.
        rows: Int32[n], catalog rows of the titles.
        skipped: titles that were asked for and have one word only, or none.
        chances: Float64[n], share of titles that a guess completes.
        hits: Float64[n], 1 where the true rest was the likeliest; a share where it shares that place.
        obfuscated: Float64[n], the same of the obfuscated title.
        verbatim: Float64[n], 1 where the model, asked to go on, says the true rest word by word.
        beaten: Float64[n], share of the other rests that were less likely than the true one; 0.5 by chance.
        strata: n groups by popularity ("head", "mid", "tail", "cold"); empty if no popularity was given.
    """

    model: str
    rows: Int32Array
    skipped: int
    chances: Float64Array
    hits: Float64Array
    obfuscated: Float64Array
    verbatim: Float64Array
    beaten: Float64Array
    strata: tuple[str, ...]

    @property
    def beyond_chance(self) -> Interval:
        """Share of titles that are completed, less the share that a guess completes, with its 95% interval."""
        return bootstrap_interval(self.hits - self.chances)

    @property
    def known(self) -> Interval:
        """Share of titles that are completed, less that of obfuscated ones: what no sign of the titles gives away."""
        return bootstrap_interval(self.hits - self.obfuscated)

    @property
    def recited(self) -> Interval:
        """Share of titles whose rest is said word by word."""
        return bootstrap_interval(self.verbatim)

    def by_popularity(self) -> dict[str, tuple[int, Interval, Interval]]:
        """Of each group, how many titles it has, `known` of these, and `recited`."""
        labels = np.array(self.strata)
        groups = {name: np.flatnonzero(labels == name) for name in ("head", "mid", "tail", "cold")}
        known = self.hits - self.obfuscated
        return {
            name: (len(of), bootstrap_interval(known[of]), bootstrap_interval(self.verbatim[of]))
            for name, of in groups.items()
            if len(of)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "model": self.model,
            "titles": len(self.rows),
            "skipped": self.skipped,
            "chance": float(self.chances.mean()),
            "completed": bootstrap_interval(self.hits).to_dict(),
            "completed_obfuscated": bootstrap_interval(self.obfuscated).to_dict(),
            "beaten": bootstrap_interval(self.beaten).to_dict(),
            "beyond_chance": self.beyond_chance.to_dict(),
            "known": self.known.to_dict(),
            "recited": self.recited.to_dict(),
            "by_popularity": {
                name: {"titles": count, "known": known.to_dict(), "recited": recited.to_dict()}
                for name, (count, known, recited) in self.by_popularity().items()
            },
        }

    def __str__(self) -> str:
        known, recited = self.known, self.recited
        return (
            f"of {len(self.rows)} titles {self.model} recites {recited.mean:.1%} [{recited.low:.1%}, "
            f"{recited.high:.1%}], and tells {known.mean:.1%} [{known.low:.1%}, {known.high:.1%}] more from others "
            "than with letters mixed"
        )


def memorisation(
    model: LanguageModel,
    catalog: Catalog,
    rows: Int32Array | None = None,
    *,
    popularity: Int64Array | None = None,
    field: str = "title",
    among: int = 20,
    seed: int = 0,
) -> Memorisation:
    """Ask a language model to complete titles, and compare with titles of which the letters are mixed.

    The first half of a title's words is shown, and the true rest is weighed against the rests of other titles that are
    built alike (as many words, capitals and numbers in the same places). A rest's likelihood is compared with its mean
    after all the titles it is tried on, so that what is likely anyway does not win. In the obfuscated titles every word
    has its letters mixed, the same way wherever it stands: what repeated words, lengths and signs give away is left,
    what can be remembered is not. Beside that the model is let go on by itself, and says the rest word by word or not.

    What is recited is a lower bound of what it remembers. `known` is an upper one: it counts a sense for the language
    and the subject too, with which most headlines are put together that nobody ever read before.

    Args:
        model: the model.
        catalog: the items.
        rows: Int32[n], catalog rows of the titles; None: all. A title of one word is skipped, a long one cut at eight.
        popularity: Int64[n_items], interactions of each item, for `by_popularity`.
        field: the catalog's field with the titles.
        among: so many titles, or somewhat more, are weighed against each other.
        seed: which titles built alike meet, and how letters are mixed.

    Raises:
        ConfigError: the catalog has no such field, or `among` is below 2.
        DataError: fewer than two titles have two words.
    """
    if field not in catalog.table.column_names:
        raise ConfigError(f"the catalog has no field {field!r}; it has {', '.join(catalog.table.column_names[1:])}")
    if among < 2:
        raise ConfigError(f"among={among} is out of range: from 2")
    asked = np.arange(len(catalog.table), dtype=np.int32) if rows is None else np.asarray(rows, dtype=np.int32)
    texts = catalog.table[field].to_pylist()
    titles = [_words(texts[row]) for row in asked]
    of = np.array([place for place, words in enumerate(titles) if len(words) > 1], dtype=np.int64)
    if len(of) < 2:
        raise DataError(f"{len(of)} of {len(titles)} titles have two words or more; at least two have to")
    real = [titles[place] for place in of]
    mixed = [[obfuscated(word, seed) for word in words] for words in real]
    blocks = _blocks(real, among, seed)
    chances, hits, beaten = _completed(model, real, blocks)
    _, mixed_hits, _ = _completed(model, mixed, blocks)
    strata = () if popularity is None else tuple(popularity_strata(asked[of], popularity))
    skipped, verbatim = len(titles) - len(of), _recited(model, real)
    return Memorisation(model.name, asked[of], skipped, chances, hits, mixed_hits, verbatim, beaten, strata)


def obfuscated(word: str, seed: int = 0) -> str:
    """A word with its letters mixed; the same word is always mixed the same way. Signs, digits, capitals stay in place.

    A word of one letter, or of the same letter over and over, stays as it is.
    """
    letters = [sign for sign in word.lower() if sign.isalpha()]
    if len(word.lower()) != len(word) or len(set(letters)) < 2:  # some capital has no one small letter
        return word
    key = hashlib.blake2b(f"{seed} {''.join(letters)}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(key, "little"))
    mixed = letters
    while mixed == letters:
        mixed = [letters[place] for place in rng.permutation(len(letters))]
    rest = iter(mixed)
    found = ((next(rest), sign.isupper()) if sign.isalpha() else (sign, False) for sign in word)
    return "".join(_capital(sign) if capital else sign for sign, capital in found)


def _capital(letter: str) -> str:
    """The letter as a capital, if it has one of its own: "ß" has none."""
    return letter.upper() if letter.upper().lower() == letter else letter


def _words(text: Any) -> list[str]:
    """The first words of a title, as one says it: "Usual Suspects, The" begins with the article."""
    title = " ".join(str(text or "").split())
    last = _ARTICLE_LAST.fullmatch(title)
    return (f"{last[2]} {last[1]}" if last else title).split()[:WORDS]


def _halves(words: Sequence[str]) -> tuple[str, str]:
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def _prompt(model: LanguageModel, head: str) -> list[int]:
    return model.tokens.text(f"{LEAD} {head}")


def _recited(model: LanguageModel, titles: Sequence[Sequence[str]]) -> Float64Array:
    """Float64[n]: 1 where the model goes on with a title's rest, whatever the capitals and the signs between words."""
    found = np.zeros(len(titles))
    for place, words in enumerate(titles):
        head, rest = _halves(words)
        more = len(model.tokens.text(f" {rest}")) + 1
        (said,) = model.generate([_prompt(model, head)], max_new_tokens=more)
        wanted = _plain(rest)
        found[place] = bool(wanted) and _plain(said)[: len(wanted)] == wanted
    return found


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _blocks(titles: Sequence[Sequence[str]], among: int, seed: int) -> list[Int64Array]:
    """Places of titles that are weighed against each other: those whose rests are built alike, by chance otherwise."""
    chance = np.random.default_rng(seed).permutation(len(titles))
    shapes = [(len(words), "".join(map(_kind, words[(len(words) + 1) // 2 :]))) for words in titles]
    order = sorted(range(len(titles)), key=lambda place: (shapes[place], chance[place]))
    return [np.asarray(some) for some in np.array_split(order, max(1, len(titles) // among))]


def _kind(word: str) -> str:
    first = word[0]
    return "0" if first.isdigit() else "A" if first.isupper() else "a" if first.isalpha() else "."


def _completed(
    model: LanguageModel, titles: Sequence[Sequence[str]], blocks: Sequence[Int64Array]
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Chances, hits and shares beaten of every title."""
    chances, hits, beaten = (np.zeros(len(titles)) for _ in range(3))
    for block in blocks:
        halves = [_halves(titles[place]) for place in block]
        rests = sorted({rest for _, rest in halves})
        true = np.array([rests.index(rest) for _, rest in halves])
        if len(rests) == 1:  # nothing to choose from says nothing
            chances[block], hits[block], beaten[block] = 0.0, 0.0, 0.5
            continue
        prompts = [_prompt(model, head) for head, _ in halves]
        found = np.stack(model.log_likelihood(prompts, [[f" {rest}" for rest in rests]] * len(prompts)))
        scores = found.astype(np.float64) - found.mean(axis=0, dtype=np.float64)
        mine = np.take_along_axis(scores, true[:, None], axis=1)
        above, level = (scores > mine).sum(axis=1), (scores == mine).sum(axis=1)
        chances[block] = 1 / len(rests)
        hits[block] = np.where(above == 0, 1 / level, 0.0)
        beaten[block] = 1 - (above + (level - 1) / 2) / (len(rests) - 1)
    return chances, hits, beaten
