"""Prompts in which an item is a run of new tokens, its codes, put together a whole batch at once.

The sentences are our own, in the frame of Stanford Alpaca that LC-Rec has. New tokens are numbered
on behind the words of the language model. Shapes: B prompts, L items of a history, V items, m codes
of each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_rec.errors import UserError
from lightning_rec.language.prompts import Ints, tokens_of
from lightning_rec.language.tokens import Tokens, tokenize

FRAME = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
)
NEXT = (
    "These items were chosen in this order, the latest last: {history}. Which item comes next?",
    "Continue the list with one more item: {history}",
    "A customer had {history}, in this order. Name the item to recommend to the customer now.",
    "Here is what a user did, the oldest first: {history}. What will the user choose next?",
    "Given the history {history}, say which item follows.",
    "Recommend one item to somebody whose latest items are {history}.",
)
OF_TITLE = (
    'Which item is called "{title}"?',
    'Name the item whose title is "{title}".',
    '"{title}" is the title of an item. Which one?',
    'Somebody asks for "{title}". Which item is that?',
)
TO_TITLE = (
    "What is item {item} called?",
    "Give the title of the item {item}.",
    "There is an item {item}. What is its title?",
    "Under which title is {item} listed?",
)


class IndexPrompts:
    """Codes of items -> prompts, of the wordings of a task that are chosen.

    Args:
        tokenizer: of transformers.
        first: number of the first new token.
        frame: around each sentence, with ``{instruction}``.
        tasks: sentences by the name of what they hold: ``{history}``, ``{title}`` or ``{item}``.
        separator: between items of a history.
        titles: of the items, if any are asked for.
        max_title_tokens: where titles are cut off.

    Raises UserError if a sentence or the frame has not its place, once.
    """

    def __init__(
        self,
        tokenizer: Any,
        first: int,
        frame: str,
        tasks: dict[str, Sequence[str]],
        separator: str,
        titles: Sequence[str],
        max_title_tokens: int,
    ) -> None:
        if frame.count("{instruction}") != 1:
            raise UserError(f"model.frame must hold {{instruction}} once: {frame!r}.")
        if tokenizer.eos_token_id is None:
            raise UserError(
                "model.encoder: its tokenizer has no token that ends a text (eos_token), which "
                "answers end with: name one in its tokenizer_config.json."
            )
        begin: list[int] = tokenizer("")["input_ids"][:1]  # what begins a text, if anything
        self.first, self.tasks, self.end = first, tasks, int(tokenizer.eos_token_id)
        around: list[list[int]] = []
        for slot, sentences in tasks.items():
            for sentence in sentences:
                if sentence.count(f"{{{slot}}}") != 1:
                    told = f"must hold {{{slot}}} once: {sentence!r}."
                    raise UserError(f"model.prompts: each sentence {told}")
                before, _, after = frame.replace("{instruction}", sentence).partition(f"{{{slot}}}")
                around += [[*begin, *tokens_of(tokenizer, before)], tokens_of(tokenizer, after)]
        named = [title.strip().strip(".!?,;:`") for title in titles]
        self.titles = tokenize(named, tokenizer, max_title_tokens, False)
        self.ended = self.titles.and_also([[self.end]])
        self.fixed = self.titles.and_also([tokens_of(tokenizer, separator), *around])
        sizes = self.fixed.lengths[len(titles) + 1 :].reshape(-1, 2).sum(axis=1)
        self.longest = int(sizes[: len(tasks["history"])].max())  # without its items
        self.separator = int(self.fixed.lengths[len(titles)])
        self.pieces = self.fixed

    def know(self, codes: Ints) -> None:
        """Take the codes of all items, int64 [V, m], as they are numbered in a model."""
        self.codes = codes + self.first
        self.pieces = self.fixed.and_also(self.codes)

    def about(self, slot: str, item: Ints, chosen: Ints) -> Tokens:
        """Prompts about an item each, int64 [B], by its ``title`` or, as an ``item``, its codes;
        ``chosen``, int64 [B], are the sentences.
        """
        return self._framed(slot, item[:, None] + len(self.fixed) * (slot == "item"), chosen)

    def history(self, past: Ints, padding: int, chosen: Ints) -> Tokens:
        """Prompts about the item that follows ``past``, int64 [B, L], padded on the right."""
        there = past != padding
        items = np.where(there, past + len(self.fixed), -1)
        between = np.where(there[:, 1:], len(self.titles), -1)
        parts = np.stack([items, np.pad(between, ((0, 0), (0, 1)), constant_values=-1)], axis=2)
        return self._framed("history", parts.reshape(len(past), -1), chosen)

    def answers(self, items: Ints) -> Ints:
        """The tokens of items, int64 [...], and the end: int64 [..., m + 1]."""
        ends = np.full((*items.shape, 1), self.end)
        return np.concatenate([self.codes[items], ends], axis=-1)

    def title_answers(self, items: Ints) -> Tokens:
        """The titles of items, int64 [B], and the end, as a batch."""
        ends = np.full_like(items, len(self.titles))
        return self.ended.joined(np.stack([items, ends], axis=1))

    def _framed(self, slot: str, parts: Ints, chosen: Ints) -> Tokens:
        """Prompts of a task, with these pieces in the slot: int64 [B, P]."""
        names = [*self.tasks]
        earlier = sum(len(self.tasks[name]) for name in names[: names.index(slot)])
        before = len(self.titles) + 1 + 2 * (earlier + chosen[:, None])
        return self.pieces.joined(np.concatenate([before, parts, before + 1], axis=1))
