"""Texts as words, of which each batch is changed anew and then read as tokens.

Shapes: B texts, W words and T tokens of the longest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
import torch

from lightning_rec.data.split import ranges
from lightning_rec.data.types import Floats, Ints
from lightning_rec.errors import UserError
from lightning_rec.language.augment import operations
from lightning_rec.language.augment.operations import Synonyms
from lightning_rec.language.augment.translation import translated
from lightning_rec.language.augment.wordnet import read_wordnet, replaceable
from lightning_rec.language.tokens import Tokenized, Tokens, places, tokenize
from lightning_rec.ranges import UpToOne

Change = Callable[[Ints], Ints]
_ALWAYS = 1000  # tokens of a word: none is cut off before its text is
_BEFORE = "a"  # a word that others follow


class Around(NamedTuple):
    """Special tokens before and behind a text, and the most tokens that it may have with them."""

    before: Ints
    after: Ints
    longest: int

    @classmethod
    def of(cls, tokenizer: Any, longest: int, special: bool) -> "Around":
        """What a tokenizer puts around a text; nothing without ``special``."""
        bare = tokenizer(_BEFORE, add_special_tokens=False)["input_ids"]
        ids = tokenizer(_BEFORE, add_special_tokens=special)["input_ids"]
        starts = range(len(ids) - len(bare) + 1)
        at = next(start for start in starts if ids[start : start + len(bare)] == bare)
        before, after = np.array(ids[:at]), np.array(ids[at + len(bare) :])
        return cls(before.astype(np.int64), after.astype(np.int64), longest)


@dataclass(frozen=True)
class Augmented:
    """Texts of which some are changed whenever they are taken.

    offsets: int64 [N + 1]; the words of text ``i`` are ``words[offsets[i]:offsets[i + 1]]``.
    words: int64, codes of words.
    pieces: tokens of each word, where it begins a text, and then of each where it does not.
    around: special tokens.
    changes: of which one, drawn at random, is made of a text that is changed; words -> words, but
        for ``None``, which takes text ``i + N / 2`` instead, its translation.
    share: how often a text is changed.
    """

    offsets: Ints
    words: Ints
    pieces: Tokenized
    around: Around
    changes: tuple[Change | None, ...]
    share: float

    def take(self, which: Ints) -> Tokens:
        """The texts with these numbers, int64 [B], some of them changed, as one batch. Draws from
        torch's generator of the CPU.
        """
        change = (_draw(len(which)) * len(self.changes)).astype(np.int64)
        change[_draw(len(which)) >= self.share] = -1
        made = [(np.arange(0), np.zeros((0, 1), dtype=np.int64))]
        for number in (-1, *range(len(self.changes))):
            rows = np.flatnonzero(change == number)
            if len(rows):
                made.append((rows, self._changed(which[rows], number)))
        width = max(words.shape[1] for _, words in made)
        words = np.full((len(which), width), -1, dtype=np.int64)
        for rows, some in made:
            words[rows, : some.shape[1]] = some
        return self._read(words)

    def _changed(self, which: Ints, number: int) -> Ints:
        change = self.changes[number] if number >= 0 else None
        if number >= 0 and change is None:
            which = which + (len(self.offsets) - 1) // 2
        at, inside = places(self.offsets, which)
        words = np.where(inside, self.words[np.where(inside, at, 0)], -1)
        return words if change is None else change(words)

    def _read(self, words: Ints) -> Tokens:
        """Words, int64 [B, W], as tokens with special ones around, cut off behind the longest."""
        row, column = np.nonzero(words >= 0)
        code = words[row, column] + np.where(column > 0, (len(self.pieces)) // 2, 0)
        owner, at = ranges(self.pieces.offsets[code], self.pieces.offsets[code + 1])
        row = row[owner]
        total = np.bincount(row, minlength=len(words))
        begin = np.cumsum(total) - total
        before, after, longest = self.around
        room = longest - len(before) - len(after)
        place, length = np.arange(len(row)) - begin[row], np.minimum(total, room)
        size = length + len(before) + len(after)
        mask = np.arange(int(size.max(initial=1))) < size[:, None]
        ids = np.full(mask.shape, self.pieces.padding, dtype=np.int64)
        ids[:, : len(before)] = before
        kept = place < room
        ids[row[kept], place[kept] + len(before)] = self.pieces.ids[at[kept]]
        for behind, token in enumerate(after.tolist()):
            ids[np.arange(len(words)), length + len(before) + behind] = token
        return Tokens(torch.from_numpy(ids), torch.from_numpy(mask))


class Learnt(NamedTuple):
    """Queries and items as a model learns from them, by their codes; some are changed."""

    queries: Augmented | Tokenized
    items: Augmented | Tokenized


class Augmentation:
    """What is made of the texts that a model of matching learns from; those that it is asked about
    stay as they are.

    EDA (Wei and Zou, EMNLP 2019) makes several copies of a text, each changed in one way. Here each
    text of a batch is changed, with probability ``share``, in one of the ways whose share is not 0;
    all are as likely.

    Args:
        deletion: probability that a word is left out.
        swap: pairs of words that change their places, as a share of the words, at least one.
        synonyms: words that are replaced by synonyms, likewise; numbers and units never are.
        insertion: synonyms of words that are put in anywhere, likewise.
        translate: two models for translation, folders or ids of the hub, there and back: the text
            that comes back is one of the ways (Sennrich, Haddow and Birch, ACL 2016).
        wordnet: folder of WordNet's database files, for synonyms.
        texts: which texts are changed.
        share: how often; EDA's nine copies beside each original are .9.

    Raises ValueError if nothing is changed.
    """

    kind: ClassVar[str] = "matching"

    def __init__(
        self,
        deletion: UpToOne = 0.1,
        swap: UpToOne = 0.1,
        synonyms: UpToOne = 0.0,
        insertion: UpToOne = 0.0,
        translate: tuple[str, str] | None = None,
        wordnet: str | None = None,
        texts: tuple[Literal["queries", "items"], ...] = ("queries", "items"),
        share: UpToOne = 0.9,
    ) -> None:
        self.deletion, self.swap = deletion, swap
        self.synonyms, self.insertion = synonyms, insertion
        self.translate, self.wordnet = translate, wordnet
        self.texts, self.share = texts, share
        if not (any((deletion, swap, synonyms, insertion)) or translate) or not share or not texts:
            raise ValueError(
                "nothing is changed: raise deletion, swap, synonyms, …, or leave it out"
            )
        if (synonyms or insertion) and wordnet is None:
            raise UserError(
                "augment.synonyms and augment.insertion look words up in WordNet: say "
                "augment.wordnet=FOLDER, of its database files, such as /usr/share/wordnet, which "
                "Debian's package wordnet-base brings."
            )

    def read(
        self, texts: list[str], learnt: Ints, tokenizer: Any, around: Around, cache: Path
    ) -> Augmented:
        """The texts as they are changed; ``learnt``, int64: numbers of those that are learnt from,
        which alone are translated.
        """
        changes: list[Change | None] = []
        if self.translate is not None:
            back = translated([texts[at] for at in learnt.tolist()], self.translate, cache)
            again = list(texts)
            for at, text in zip(learnt.tolist(), back, strict=True):
                again[at] = text
            texts, changes = texts + again, [None]
        offsets, codes, words = _words(texts)
        if self.deletion:
            changes.append(partial(operations.delete, alpha=self.deletion, draw=_draw))
        if self.swap:
            changes.append(partial(operations.swap, alpha=self.swap, draw=_draw))
        if self.synonyms or self.insertion:
            synonyms, words = _synonyms(words, Path(self.wordnet or "").expanduser())
            both: dict[str, Any] = {"draw": _draw, "synonyms": synonyms}
            if self.synonyms:
                changes.append(partial(operations.replace, alpha=self.synonyms, **both))
            if self.insertion:
                changes.append(partial(operations.insert, alpha=self.insertion, **both))
        pieces = _pieces(words, tokenizer)
        return Augmented(offsets, codes, pieces, around, tuple(changes), self.share)


def _draw(*shape: int) -> Floats:
    return torch.rand(shape, dtype=torch.float64).numpy()


def _words(texts: list[str]) -> tuple[Ints, Ints, list[str]]:
    """Where the words of each text begin, int64 [N + 1]; codes of words, int64; what they are."""
    lists = pl.Series(texts, dtype=pl.String).str.extract_all(r"\S+")
    every = lists.explode(empty_as_null=False).alias("word")
    known = every.unique(maintain_order=True)
    codes = every.to_frame().join(
        known.to_frame().with_row_index("code"), on="word", how="left", maintain_order="left"
    )["code"]
    offsets = np.append(0, np.cumsum(lists.list.len().to_numpy().astype(np.int64)))
    return offsets, codes.to_numpy().astype(np.int64), known.to_list()


def _synonyms(words: list[str], folder: Path) -> tuple[Synonyms, list[str]]:
    """What can stand for each word, and the words with those that come with it."""
    wordnet, known, lists = read_wordnet(folder), list(words), []
    code = {word: number for number, word in enumerate(words)}
    for word in words:
        parts = replaceable(word)
        found = [] if parts is None else wordnet.synonyms(parts[1])
        lists.append(found if parts is None else [parts[0] + each + parts[2] for each in found])
    for each in dict.fromkeys(each for found in lists for each in found):
        # Behind the words of the texts, though it may be one: what was put in is not replaced.
        code[each] = len(known)
        known.append(each)
    offsets = np.append(0, np.cumsum([len(found) for found in lists])).astype(np.int64)
    codes = np.array([code[each] for found in lists for each in found], dtype=np.int64)
    return Synonyms(offsets, codes), known


def _pieces(words: list[str], tokenizer: Any) -> Tokenized:
    """Tokens of each word at the beginning of a text, and of each behind another word."""
    begin = tokenize([_BEFORE, *words], tokenizer, _ALWAYS, special=False)
    behind = tokenize([f"{_BEFORE} {word}" for word in words], tokenizer, _ALWAYS, special=False)
    skip = int(begin.offsets[1])
    kept = np.ones(len(behind.ids), dtype=bool)
    kept[(behind.offsets[:-1, None] + np.arange(skip)).ravel()] = False
    lengths = np.concatenate([begin.lengths[1:], behind.lengths - skip])
    ids = np.concatenate([begin.ids[skip:], behind.ids[kept]])
    return Tokenized(np.append(0, np.cumsum(lengths)), ids, begin.padding)
