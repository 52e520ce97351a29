"""Prompts about a history and a list of items, each behind a letter, put together of tokens.

Shapes: B lists, R orders of each, n items, L items of the past, P and S tokens.
"""

from typing import Any, NamedTuple

import numpy as np

from lightning_rec.errors import UserError
from lightning_rec.language.prompts import Ints, Prompts, Wording, tokens_of
from lightning_rec.language.tokens import Tokenized

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# What says nothing about an item, and stands for its title where the prior is asked (Zhao et al.,
# Calibrate Before Use, ICML 2021).
CONTENT_FREE = ("N/A", "[MASK]", "")


class ListPrompt(NamedTuple):
    """The prompts of one list in several orders, which begin alike and are of one length.

    begun: int64 [P], the question and the history.  rest: int64 [R, S], list and answer.
    """

    begun: Ints
    rest: Ints


class ListPrompts(Prompts):
    """Codes of items -> prompts, with the latest titles of the history that fit; the question and
    the list are never cut. An item of the list is a line: ``A. title``.

    The codes behind those of all items stand for :data:`CONTENT_FREE`.

    Args:
        titles: of the items, by code, and of what is content-free.
        tokenizer: that they were made by.
        wording: of the prompt; the history comes first.
        size: the most items of a list.
        max_titles: most titles of the history.
        max_tokens: longest prompt.

    Raises UserError if the longest list does not fit.
    """

    def __init__(
        self,
        titles: Tokenized,
        tokenizer: Any,
        wording: Wording,
        size: int,
        max_titles: int,
        max_tokens: int,
    ) -> None:
        if not wording.past_first:
            raise UserError("model.prompt: {history} must come before {items}.")
        super().__init__(titles, wording, max_titles, max_tokens)
        first, line = len(self.length), tokens_of(tokenizer, "\n")
        # The first line begins where the prompt says so, each further one on a line of its own.
        marks = [tokens_of(tokenizer, f"{letter}.") for letter in LETTERS[:size]]
        marks = [mark if not place else [*line, *mark] for place, mark in enumerate(marks)]
        self.marks = first + np.arange(size)
        lengths = [len(mark) for mark in marks]
        self.pieces = self.pieces.and_also(marks)
        self.length = self.pieces.lengths
        around = self.length[[self.before, self.between, self.after, self.nothing]]
        needed = int(around.sum()) + sum(lengths) + size * self.longest_title
        if needed > max_tokens:
            raise UserError(
                f"model.max_tokens={max_tokens}: without any history the longest prompt takes "
                f"{needed} tokens: raise it, or lower model.max_title_tokens or model.rerank."
            )

    def lists(self, shown: Ints, past: Ints, padding: int) -> list[ListPrompt]:
        """Put prompts together. ``shown`` int64 [B, R, n], codes of a list in R orders, -1 behind
        the end of a shorter one; ``past`` int64 [B, L] codes, oldest first, filled up with
        ``padding`` on the right.
        """
        size, orders, width = shown.shape
        there = shown >= 0
        marks = np.broadcast_to(self.marks[:width], shown.shape)
        lines = np.stack([np.where(there, marks, -1), shown], axis=3).reshape(size * orders, -1)
        taken = np.where(lines >= 0, self.length[lines], 0).sum(axis=1)[::orders]
        column = np.full((size, 1), self.before)
        begun = [column, self._past(taken, past, padding), np.full_like(column, self.between)]
        begins = self.pieces.joined(np.concatenate(begun, axis=1))
        rests = self.pieces.joined(np.pad(lines, ((0, 0), (0, 1)), constant_values=self.after))
        ids, length = rests.ids.numpy(), rests.mask.sum(dim=1).numpy()
        return [
            ListPrompt(
                begin[mask].numpy(), ids[row * orders : (row + 1) * orders, : length[row * orders]]
            )
            for row, (begin, mask) in enumerate(zip(begins.ids, begins.mask, strict=True))
        ]
