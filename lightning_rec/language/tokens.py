"""Texts as tokens of a language model: ragged arrays, and padded batches of them."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.errors import UserError

log = logging.getLogger(__name__)

_CHARACTERS = 64  # of a text that are read for each token that is kept; the rest is cut off unread
_CHUNK = 4096  # texts tokenized at once


class Tokens(NamedTuple):
    """Texts as a language model reads them.

    ids: int64 [B, T], padded on the right.
    mask: bool [B, T], False for padding.
    kinds: int64 [B, T], 0 for the first and 1 for the second of two texts that are read as one,
        where the model tells them apart; or None.
    """

    ids: Tensor
    mask: Tensor
    kinds: Tensor | None = None

    def to(self, device: torch.device) -> "Tokens":
        """The same on a device."""
        kinds = None if self.kinds is None else self.kinds.to(device)
        return Tokens(self.ids.to(device), self.mask.to(device), kinds)

    def some(self, which: Tensor) -> "Tokens":
        """The texts with these numbers, int64 [b], no wider than the longest of them."""
        mask = self.mask[which]
        width = max(1, int(mask.sum(dim=1).max()))
        kinds = None if self.kinds is None else self.kinds[which, :width]
        return Tokens(self.ids[which, :width], mask[:, :width], kinds)


@dataclass(frozen=True)
class Tokenized:
    """Many texts as tokens, one after the other.

    offsets: int64 [N + 1]; text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    ids: int32 [S].
    padding: the id that fills up.
    """

    offsets: NDArray[np.int64]
    ids: NDArray[np.int32]
    padding: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, int64 [N]."""
        return np.diff(self.offsets)

    def take(self, which: NDArray[np.int64]) -> Tokens:
        """The texts with these numbers, int64 [B], as one batch."""
        at, inside = places(self.offsets, which)
        ids = np.full(at.shape, self.padding, dtype=np.int64)
        ids[inside] = self.ids[at[inside]]
        return Tokens(torch.from_numpy(ids), torch.from_numpy(inside))

    def and_also(self, more: Iterable[Sequence[int]]) -> "Tokenized":
        """The same with further texts behind."""
        added = [np.asarray(text, dtype=np.int32) for text in more]
        ends = self.offsets[-1] + np.cumsum([len(text) for text in added], dtype=np.int64)
        ids = np.concatenate([self.ids, *added])
        return Tokenized(np.concatenate([self.offsets, ends]), ids, self.padding)

    def joined(self, parts: NDArray[np.int64]) -> Tokens:
        """Rows of texts, one after the other, as one batch: int64 [B, P], -1 for no text."""
        flat = parts.ravel()
        present = flat[flat >= 0]
        length = self.lengths[present]
        end = np.cumsum(length)
        at = np.repeat(self.offsets[present] - (end - length), length) + np.arange(length.sum())
        row = np.repeat(np.flatnonzero(flat >= 0) // parts.shape[1], length)
        number = np.bincount(row, minlength=len(parts))
        place, inside = places(np.append(0, np.cumsum(number)), np.arange(len(parts)))
        ids = np.where(inside, self.ids[at][np.where(inside, place, 0)], self.padding)
        return Tokens(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(inside))


def places(
    offsets: NDArray[np.int64], which: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where the parts ``which`` of a flat array lie: int64 [B, T], and bool [B, T], what is one."""
    start, end = offsets[which], offsets[which + 1]
    at = start[:, None] + np.arange(int((end - start).max(initial=1)))
    return at, at < end[:, None]


def tokenize(texts: list[str], tokenizer: Any, max_tokens: int, special: bool = True) -> Tokenized:
    """Make tokens of texts, each cut off after ``max_tokens``, special ones among them. ``special``
    puts the special tokens of a text that stands alone around it. Raises UserError if that leaves
    no room for a word.
    """
    if special and max_tokens <= (around := tokenizer.num_special_tokens_to_add()):
        raise UserError(
            f"{max_tokens} tokens leave no room for words beside {around} special ones: raise "
            "max_tokens."
        )
    lengths, ids = [np.zeros(1, dtype=np.int64)], []
    most = _CHARACTERS * max_tokens
    for start in range(0, len(texts), _CHUNK):
        chunk = [text[:most] for text in texts[start : start + _CHUNK]]
        cut = tokenizer(
            chunk,
            add_special_tokens=special,
            truncation=True,
            max_length=max_tokens,
            return_attention_mask=False,
        )["input_ids"]
        lengths.append(np.fromiter(map(len, cut), dtype=np.int64, count=len(cut)))
        ids.append(np.fromiter((i for text in cut for i in text), dtype=np.int32))
    padding = tokenizer.pad_token_id
    flat = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32)
    made = Tokenized(np.cumsum(np.concatenate(lengths)), flat, 0 if padding is None else padding)
    _count_strange(made, tokenizer)
    return made


def _count_strange(tokens: Tokenized, tokenizer: Any) -> None:
    """Warn of texts that to the language model are nothing but unknown words, and all the same."""
    if tokenizer.unk_token_id is None:  # such as of bytes, which knows every word
        return
    unknown = tokens.ids == tokenizer.unk_token_id
    known = ~np.isin(tokens.ids, tokenizer.all_special_ids)
    text = np.repeat(np.arange(len(tokens)), tokens.lengths)
    strange = np.bincount(text[unknown], minlength=len(tokens)) > 0
    strange &= np.bincount(text[known], minlength=len(tokens)) == 0
    if strange.any():
        log.warning(
            "%s of %s texts have no word that the language model knows, and read alike to it.",
            f"{int(strange.sum()):,}", f"{len(tokens):,}",
        )  # fmt: skip
