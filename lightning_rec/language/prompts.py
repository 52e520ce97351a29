"""Prompts about a history and an item, put together of tokens, a whole batch at once.

Words are tokenized once: the fixed parts of the prompt, and the title of each item. What a row asks
is these parts in their order, so that no text is touched while training.
"""

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_rec.errors import UserError
from lightning_rec.language.tokens import Tokenized, Tokens

Ints = NDArray[np.int64]
_SLOTS = re.compile(r"(\{[^{}]*\})")


class Wording(NamedTuple):
    """The fixed parts of a prompt, as tokens.

    before, between, after: what stands around the two places that are filled in.
    separator: between two titles of the history; nothing: instead of an empty history.
    past_first: whether the history comes before the item.
    """

    before: list[int]
    between: list[int]
    after: list[int]
    separator: list[int]
    nothing: list[int]
    past_first: bool

    @classmethod
    def of(
        cls, tokenizer: Any, prompt: str, separator: str, nothing: str, slot: str = "{item}"
    ) -> "Wording":
        """That of a prompt; see :func:`check_slots`."""
        check_slots(prompt, slot)
        before, first, between, _, after = _SLOTS.split(prompt)
        begin: list[int] = tokenizer("")["input_ids"][:1]  # what begins a text, if anything
        return cls(
            [*begin, *tokens_of(tokenizer, before.removesuffix(" "))],
            tokens_of(tokenizer, between.removesuffix(" ")),
            tokens_of(tokenizer, after),
            tokens_of(tokenizer, separator),
            tokens_of(tokenizer, f" {nothing}"),
            first == "{history}",
        )


def check_slots(prompt: str, slot: str = "{item}") -> None:
    """Raise UserError unless a prompt has ``{history}`` and another ``slot``, each once, and no
    other braces.
    """
    if sorted(_SLOTS.findall(prompt)) != sorted(["{history}", slot]):
        raise UserError(
            f"model.prompt must hold {{history}} and {slot}, each once, and no other braces: "
            f"{prompt!r}."
        )


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a part of a text."""
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(found)


def single_token(tokenizer: Any, encoder: str, key: str, text: str) -> int:
    """The token of an answer. Raises UserError, naming the ``key``, if it is not a single one."""
    found = tokens_of(tokenizer, text)
    if len(found) != 1 or found[0] == tokenizer.unk_token_id:
        raise UserError(
            f"model.{key}='{text}' must be a single token of {encoder}, which reads "
            f"{tokenizer.convert_ids_to_tokens(found)}: choose another word, or try it with or "
            "without a blank before it."
        )
    return found[0]


class Prompts:
    """Codes of items -> prompts, with the latest titles of the history that fit: the question and
    the item are never cut.

    max_titles: most titles of the history.
    max_tokens: longest prompt; at least :attr:`shortest`.
    """

    def __init__(
        self, titles: Tokenized, wording: Wording, max_titles: int, max_tokens: int
    ) -> None:
        self.max_titles, self.max_tokens = max_titles, max_tokens
        self.past_first = wording.past_first
        # The fixed parts lie behind the titles, and have the numbers that follow theirs.
        self.before, self.between, self.after, self.separator, self.nothing = range(
            len(titles), len(titles) + 5
        )
        self.pieces = titles.and_also(wording[:5])
        self.length: Ints = self.pieces.lengths
        self.longest_title = int(titles.lengths.max(initial=0))
        around = self.length[[self.before, self.between, self.after, self.nothing]]
        self.shortest = int(around.sum()) + self.longest_title  # about it, with an empty history

    def of(self, item: Ints, past: Ints, padding: int) -> Tokens:
        """Put prompts together, padded on the right. ``item`` int64 [B] are the codes of the items
        asked about; ``past`` int64 [B, L] codes, oldest first, filled up with ``padding`` on the
        right.
        """
        column = np.full((len(item), 1), self.before)
        asked = [item[:, None], np.full_like(column, self.between)]
        titles = self._past(self.length[item], past, padding)
        middle = [titles, asked[1], asked[0]] if self.past_first else [*asked, titles]
        parts = np.concatenate([column, *middle, np.full_like(column, self.after)], axis=1)
        return self.pieces.joined(parts)

    def _past(self, taken: Ints, past: Ints, padding: int) -> Ints:
        """The parts of the past, with separators: int64 [B, P], -1 for no part. ``taken`` int64
        [B], tokens of what else is filled in.
        """
        number = (past != padding).sum(axis=1)[:, None]
        width = min(self.max_titles, past.shape[1])
        place = number - width + np.arange(width)  # the latest, on the right
        titles = np.take_along_axis(past, np.maximum(place, 0), axis=1)
        mask = place >= 0
        titles = np.where(mask, titles, self.separator)
        cost = np.where(mask, self.length[titles] + self.length[self.separator], 0)
        fixed = self.length[[self.before, self.between, self.after]].sum()
        # The first of the titles has no separator.
        room = self.max_tokens - fixed - taken + self.length[self.separator]
        fits = cost[:, ::-1].cumsum(axis=1)[:, ::-1] <= room[:, None]
        kept = mask & fits
        after_another = kept & np.pad(kept[:, :-1], ((0, 0), (1, 0)))
        pairs = np.stack(
            [np.where(after_another, self.separator, -1), np.where(kept, titles, -1)], axis=2
        )
        nothing = np.where(kept.any(axis=1), -1, self.nothing)[:, None]
        return np.concatenate([nothing, pairs.reshape(len(past), -1)], axis=1)
