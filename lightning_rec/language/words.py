"""A language model with its head over words, computed at some positions alone.

The head is as wide as the vocabulary: computed at every position it would cost more than the layers
of a small model. Shapes: B texts, T tokens, M positions, W words.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.language.blocks import cuts, in_blocks
from lightning_rec.language.encoder import LanguageModel
from lightning_rec.language.tokens import Tokens

BLOCK_TOKENS = 1024  # read at once on a CPU: less padding is worth more than larger products


class WordModel(LanguageModel):
    """Texts -> a logit for every word, at the positions asked for; over a model of transformers
    with a head for masked words, or for the next one.
    """

    @property
    def body(self) -> nn.Module:
        """The language model without its head."""
        body: Any = self.model.base_model
        assert isinstance(body, nn.Module)
        return body

    @property
    def num_words(self) -> int:
        """W."""
        config: Any = self.model.config
        return int(config.vocab_size)

    def forward(self, tokens: Tokens, positions: Tensor) -> Tensor:
        """Logits of the words, float [M, W], at the M positions of B texts that are True in
        ``positions``, bool [B, T]; in the order of texts, then positions.
        """
        return self.head(self._states(tokens)[positions])  # of states [M, E]

    def after(self, begun: Tensor, rest: Tensor) -> Tensor:
        """Logits of the word after each of R texts that begin alike, float [R, W].

        ``begun``: int64 [P], tokens that all begin with, which are read once; ``rest``: int64
        [R, S], those that follow.
        """
        kept = self.body(input_ids=begun[None], use_cache=True).past_key_values
        kept.batch_repeat_interleave(len(rest))
        made = self.body(input_ids=rest, past_key_values=kept, use_cache=True)
        return self.head(made.last_hidden_state[:, -1])

    def head(self, states: Tensor) -> Tensor:
        """What the head says of some states, float [M, E]: logits, float [M, W]."""
        states = states.to(next(self.model.parameters()).dtype)
        ids = torch.zeros(1, 1, dtype=torch.int64, device=states.device)  # which nobody reads
        # In half precision, many words would have one and the same logit.
        with self._made(states[None]), torch.autocast(states.device.type, enabled=False):
            logits: Tensor = self.model(input_ids=ids).logits[0]
        return logits

    def _states(self, tokens: Tokens) -> Tensor:
        """What the body makes of all tokens, float [B, T, E]; a CPU reads texts of like length."""
        width, lengths = tokens.ids.shape[1], tokens.mask.sum(dim=1)

        def read(which: Tensor) -> Tensor:
            some = tokens.some(which)
            made = self.body(input_ids=some.ids, attention_mask=some.mask.long())
            return functional.pad(made.last_hidden_state, (0, 0, 0, width - some.ids.shape[1]))

        if tokens.ids.device.type != "cpu":
            return read(torch.arange(len(lengths), device=lengths.device))
        return in_blocks(lengths, read, partial(cuts, tokens=BLOCK_TOKENS))

    @contextmanager
    def _made(self, states: Tensor) -> Iterator[None]:
        """Let states stand for the body, so that the head, whatever it is, reads these."""
        model: Any = self.model
        body = self.body
        setattr(model, model.base_model_prefix, _Made(states))
        try:
            yield
        finally:
            setattr(model, model.base_model_prefix, body)


class _Made(nn.Module):
    """A body that has its result already."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *_: Any, **__: Any) -> Any:
        """What models of transformers return."""
        outputs = import_module("transformers.modeling_outputs")
        return outputs.BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.states)


class Words(NamedTuple):
    """A pretrained language model with its head over words, and its tokenizer."""

    model: WordModel
    tokenizer: Any


# By its name: a model knows no path itself. Raises UserError if it is not to be had.
LoadWords = Callable[[str, Literal["masked", "causal"]], Words]
