"""The interface of matching models: they read texts, score pairs, and may rank a catalogue.

Shapes: B queries, S pairs, N items of the catalogue, T tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lightning_rec.language.augment.texts import Around
from lightning_rec.language.encoder import Pooling, TextEncoder
from lightning_rec.language.load import Language
from lightning_rec.language.tokens import Tokenized, Tokens, tokenize
from lightning_rec.needs import LOSS, Need


class Texts(NamedTuple):
    """Queries and the items of a catalogue, as a model reads them, by their codes."""

    queries: Tokenized
    items: Tokenized


Load = Callable[[str, Pooling | None, bool], Language]
"""Loads a language model by name, pooling and whether to normalise vectors, or raises UserError."""


class TextModel(nn.Module):
    """A module that finds items for a query.

    ``encodes``: whether it has a vector of each query and item; ``ranks``: whether it can score the
    whole catalogue.
    """

    kind: ClassVar[str] = "matching"
    needs: ClassVar[tuple[Need, ...]] = (LOSS,)
    __call__: Callable[..., Tensor]
    encodes: ClassVar[bool] = False
    ranks: ClassVar[bool] = False


class TextScorer(TextModel, ABC):
    """A module that scores how well items fit a query, whatever else there is."""

    @abstractmethod
    def read(self, texts: list[str], *, item: bool) -> Tokenized:
        """Read texts, of items or of queries, as this model takes them."""

    @abstractmethod
    def pairs(self, texts: Texts, query: Tensor, item: Tensor) -> Tensor:
        """Score pairs, int64 [S] and int64 [S] codes of ``texts``: float [S]."""


class LanguageScorer(TextScorer):
    """A text scorer over a pretrained language model.

    Constructors name alike what they share: ``load``, which loads the language model; ``encoder``,
    its name, a folder or an id of the hub; ``pooling``, how a text becomes one vector, None for
    what the model was trained with; ``max_query_tokens`` and ``max_item_tokens``, of a text.
    """

    pretrained: ClassVar[bool] = True
    special: ClassVar[bool] = True  # whether each text has special tokens

    def __init__(self, language: Language, max_query_tokens: int, max_item_tokens: int) -> None:
        super().__init__()
        self.text, self.tokenizer = language.encoder, language.tokenizer
        self.max_query_tokens, self.max_item_tokens = max_query_tokens, max_item_tokens

    def read(self, texts: list[str], *, item: bool) -> Tokenized:
        """Tokens of each text."""
        return tokenize(texts, self.tokenizer, self._longest(item), self.special)

    def around(self, *, item: bool) -> Around:
        """What stands around the tokens of a text, and how long it may be."""
        return Around.of(self.tokenizer, self._longest(item), self.special)

    def _longest(self, item: bool) -> int:
        return self.max_item_tokens if item else self.max_query_tokens


class CatalogueScorer(TextScorer):
    """A text scorer that can score the whole catalogue for a query.

    ``floor``: a score no higher says that an item was not found at all.
    """

    ranks = True
    floor: float = -torch.inf

    @abstractmethod
    def index(
        self, items: Tokenized, make: Callable[[TextEncoder, Tokenized], Tensor]
    ) -> Tensor | None:
        """What is computed of N items once for all queries; None where the model has it.

        ``make``: makes a vector of each text, float [N, E].
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

    def fit(self, texts: list[str]) -> None:
        """Fit on the texts of the catalogue; text i is that of item i."""
