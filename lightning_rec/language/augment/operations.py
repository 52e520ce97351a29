"""EDA: words deleted, swapped, replaced and inserted, in many texts at once.

Wei and Zou, EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification
Tasks, EMNLP 2019, arXiv:1901.11196 (section 2). A text of L words is changed in
n = max(1, int(alpha L)) places, or loses each word with probability alpha.

Shapes: B texts, W words of the longest. Words are codes, int64 [B, W], -1 behind the last one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.types import Floats, Ints

Draw = Callable[..., Floats]
"""Numbers from 0 to below 1, float64 of a shape."""


@dataclass(frozen=True)
class Synonyms:
    """Which words can stand for which, as codes: those of word ``w`` lie from ``offsets[w]`` to
    ``offsets[w + 1]`` of ``codes``, int64. A word of the codes itself has none.
    """

    offsets: Ints
    codes: Ints

    def number(self, words: Ints) -> Ints:
        """How many each word has, 0 where there is no word: int64 like ``words``."""
        known = (words >= 0) & (words < len(self.offsets) - 1)
        at = np.where(known, words, 0)
        return np.where(known, self.offsets[at + 1] - self.offsets[at], 0)

    def drawn(self, words: Ints, chance: Floats) -> Ints:
        """One of each word's, which has to have some: int64 like ``words``."""
        return self.codes[self.offsets[words] + _place(chance, self.number(words))]


def delete(words: Ints, alpha: float, draw: Draw) -> Ints:
    """Each word is left out with probability ``alpha``; of a text that would lose all, one word
    drawn at random stays.
    """
    there = words >= 0
    kept = there & (draw(*words.shape) >= alpha)
    lucky = _place(draw(len(words)), there.sum(axis=1))
    lost = ~kept.any(axis=1) & there.any(axis=1)
    kept[lost, lucky[lost]] = True
    return _packed(np.where(kept, words, -1))


def swap(words: Ints, alpha: float, draw: Draw) -> Ints:
    """Two different places, n times, change their words; a text of one word stays."""
    words, length = words.copy(), (words >= 0).sum(axis=1)
    times, row = np.where(length > 1, _times(length, alpha), 0), np.arange(len(words))
    for turn in range(int(times.max(initial=0))):
        some = row[times > turn]
        number = length[some]
        one = _place(draw(len(some)), number)
        other = (one + 1 + _place(draw(len(some)), number - 1)) % number
        words[some, one], words[some, other] = words[some, other], words[some, one]
    return words


def replace(words: Ints, alpha: float, draw: Draw, synonyms: Synonyms) -> Ints:
    """N different words, of those that have synonyms, are replaced by one of them, wherever they
    occur in their text.
    """
    same = words[:, :, None] == words[:, None, :]  # [B, W, W]
    first = same.argmax(axis=2)  # where each word occurs first
    able = (synonyms.number(words) > 0) & (first == np.arange(words.shape[1]))
    order = np.where(able, draw(*words.shape), np.inf).argsort(axis=1).argsort(axis=1)
    chosen = able & (order < _times((words >= 0).sum(axis=1), alpha)[:, None])
    replaced, chance = words.copy(), draw(*words.shape)
    replaced[chosen] = synonyms.drawn(words[chosen], chance[chosen])
    return np.take_along_axis(replaced, first, axis=1)


def insert(words: Ints, alpha: float, draw: Draw, synonyms: Synonyms) -> Ints:
    """N times a synonym of a word drawn from those of the text that have some is put before a place
    drawn at random.
    """
    length, row = (words >= 0).sum(axis=1), np.arange(len(words))
    times = _times(length, alpha)
    times[synonyms.number(words).max(axis=1, initial=0) == 0] = 0
    more = int(times.max(initial=0))
    words = np.pad(words, ((0, 0), (0, more)), constant_values=-1)
    for turn in range(more):
        some = row[times > turn]
        mine = words[some]
        chance = np.where(synonyms.number(mine) > 0, draw(*mine.shape), -1.0)
        word = mine[np.arange(len(some)), chance.argmax(axis=1)]
        new = synonyms.drawn(word, draw(len(some)))
        at = _place(draw(len(some)), (mine >= 0).sum(axis=1))[:, None]
        place = np.arange(words.shape[1])
        behind = np.roll(mine, 1, axis=1)
        words[some] = np.where(place < at, mine, np.where(place == at, new[:, None], behind))
    return words


def _times(length: Ints, alpha: float) -> Ints:
    return np.maximum(1, (alpha * length).astype(np.int64))


def _place(chance: Floats, number: Ints) -> Ints:
    """A place below ``number``, 0 where that is 0: int64."""
    return np.minimum((chance * number).astype(np.int64), np.maximum(number - 1, 0))


def _packed(words: Ints) -> Ints:
    """Words moved to the left, in their order."""
    order: NDArray[np.int64] = np.argsort(words < 0, axis=1, kind="stable")
    return np.take_along_axis(words, order, axis=1)
