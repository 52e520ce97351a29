"""What every model of matching offers: it reads texts, scores pairs, and may rank a catalogue.

Shapes: B queries, S pairs, N items of the catalogue, T tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lightning_rec.compat import PRESENT, Need
from lightning_rec.language.encoder import Pooling, TextEncoder
from lightning_rec.language.tokens import Tokenized, Tokens

LOSS = Need("loss", PRESENT, "is trained by gradient steps and needs a loss")


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


class TextScorer(nn.Module, ABC):
    """A module that scores how well items fit a query.

    ``encodes``: whether it has a vector of each query and item; ``ranks``: whether it can score the
    whole catalogue.
    """

    kind: ClassVar[str] = "matching"
    needs: ClassVar[tuple[Need, ...]] = (LOSS,)
    encodes: ClassVar[bool] = False
    ranks: ClassVar[bool] = False

    @abstractmethod
    def read(self, texts: list[str], *, item: bool) -> Tokenized:
        """Read texts, of items or of queries, as this model takes them."""

    @abstractmethod
    def pairs(self, texts: Texts, query: Tensor, item: Tensor) -> Tensor:
        """Score pairs, int64 [S] and int64 [S] codes of ``texts``: float [S]."""


class CatalogueScorer(TextScorer):
    """A text scorer that can score the whole catalogue for a query.

    ``floor``: a score no higher says that an item was not found at all.
    """

    ranks: ClassVar[bool] = True
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
