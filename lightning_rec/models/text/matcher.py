"""What every model of matching offers: it reads texts, scores pairs, and may rank a catalogue.

Shapes: B queries, S pairs, N items of the catalogue, T tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lightning_rec.data.text.texts import Tokenized, Tokens
from lightning_rec.models.text.encoder import Pooling, TextEncoder

BLOCK_ROWS = 16  # texts that are read at once on a CPU, where padding costs more than calls


class Texts(NamedTuple):
    """Queries and the items of a catalogue, as a model reads them, by their codes."""

    queries: Tokenized
    items: Tokenized


class Language(Protocol):
    """A language model with its tokenizer."""

    @property
    def encoder(self) -> TextEncoder:
        """The model and how its states become a vector."""
        ...

    @property
    def tokenizer(self) -> Any:
        """Of transformers."""
        ...


class Load(Protocol):
    """Finds and loads a language model: a model of matching knows no path itself."""

    def __call__(self, name: str, pooling: Pooling | None, normalize: bool) -> Language:
        """The language model of that name. Raises UserError if it is not to be had."""
        ...


class Matcher(nn.Module, ABC):
    """A module that scores how well items fit a query."""

    @abstractmethod
    def read(self, texts: list[str], *, item: bool) -> Tokenized:
        """Read texts, of items or of queries, as this model takes them."""

    @abstractmethod
    def pairs(self, texts: Texts, query: Tensor, item: Tensor) -> Tensor:
        """Score pairs, int64 [S] and int64 [S] codes of ``texts``: float [S]."""


class Retriever(Matcher):
    """A matcher that can score the whole catalogue for a query.

    ``floor``: a score no higher says that an item was not found at all.
    """

    floor: float = -torch.inf

    @abstractmethod
    def index(
        self, items: Tokenized, make: Callable[[TextEncoder, Tokenized], Tensor]
    ) -> Tensor | None:
        """What is made of the catalogue before any query comes; None where the model has it.

        Args:
            items: N texts.
            make: makes a vector of each text, float [N, E].
        """

    @abstractmethod
    def against(self, queries: Tokens, index: Tensor | None) -> Tensor:
        """Score the whole catalogue for B queries: float [B, N]."""


@runtime_checkable
class FittedToTexts(Protocol):
    """A model that reads the items' texts at once, instead of gradient steps."""

    @property
    def fitted(self) -> bool:
        """Whether it has done so."""
        ...

    def fit(self, texts: list[str]) -> None:
        """Fit on the texts of the catalogue; text i is that of item i."""
        ...


def in_blocks(read: Callable[[Tokens], Tensor], tokens: Tokens) -> Tensor:
    """Read texts in blocks of like length: no result changes, less padding is computed.

    Args:
        read: makes float [B, …] of B texts.
        tokens: B texts.

    Returns:
        float [B, …], in the order of ``tokens``.
    """
    if tokens.ids.device.type != "cpu" or len(tokens.ids) <= BLOCK_ROWS:
        return read(tokens)
    lengths = tokens.there.sum(dim=1)
    order = torch.argsort(lengths, stable=True)
    made = []
    for rows in torch.split(order, BLOCK_ROWS):
        width = max(1, int(lengths[rows[-1]]))
        kinds = None if tokens.kinds is None else tokens.kinds[rows, :width]
        made.append(read(Tokens(tokens.ids[rows, :width], tokens.there[rows, :width], kinds)))
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return torch.cat(made)[back]


def check_length(encoder: TextEncoder, longest: int, key: str) -> None:
    """Raise ValueError if a language model has fewer places than the ``longest`` text needs."""
    config: Any = encoder.model.config
    places = getattr(config, "max_position_embeddings", None)
    if places is not None and longest > places:
        raise ValueError(f"{key}: {longest} tokens at once, but the encoder reads {places} at most")
