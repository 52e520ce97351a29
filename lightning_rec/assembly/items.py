"""Items as a config has them: by their ids, by their texts, or by both."""

import logging
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import torch
from omegaconf import DictConfig
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.split import Schema
from lightning_rec.data.templates import render_template, texts_hash
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.language.cached import agrees, read_lower, read_vectors
from lightning_rec.language.encoder import Pooling, TextEncoder, check_length
from lightning_rec.language.hub import find_model, model_here
from lightning_rec.language.load import Language, load_language
from lightning_rec.language.tokens import Tokenized, tokenize
from lightning_rec.losses.full import FullSoftmax
from lightning_rec.models.base import ReadsTexts
from lightning_rec.models.text.items import (
    ItemTexts,
    KnownTexts,
    ReadTexts,
    TextItems,
    Whitened,
    whitening,
)
from lightning_rec.ranges import BelowOne

log = logging.getLogger(__name__)


def texts_of(cfg: DictConfig) -> "Texts | None":
    """How a config has items known by texts; None by ids, of which nothing is to be built."""
    settings = config.plain(cfg.get("item")) or {}
    if not settings:
        return None
    config.expect("item", settings, Texts)
    texts: Texts = config.build("item", settings)
    return texts


class Texts:
    """Items are known by what the catalogue says of them, read by a pretrained language model.

    Args:
        encoder: the language model: a folder, or an id of the hub.
        template: text with names of the catalogue's columns in braces.
        max_tokens: longest text.
        pooling: how a text becomes one vector; None takes what the model was trained with.
        normalize: make each vector of length 1.
        whiten: make the vectors of the training items uncorrelated and of equal spread.
        ids: add a vector of each item's own.
        id_dropout: probability that an item goes without it for a step of training.
        cache_gb: most that the states below the lowest tuned layer may take on disk; else they
            are computed at each step.
    """

    kind: ClassVar[str] = "items"
    pretrained: ClassVar[bool] = True

    def __init__(
        self,
        encoder: str = "all-MiniLM-L6-v2",
        template: str = "{title}",
        max_tokens: PositiveInt = 32,
        pooling: Pooling | None = None,
        normalize: bool = True,
        whiten: bool = True,
        ids: bool = False,
        id_dropout: BelowOne = 0.0,
        cache_gb: PositiveFloat = 8.0,
    ) -> None:
        self.name, self.template, self.max_tokens = encoder, template, max_tokens
        self.pooling, self.normalize = pooling, normalize
        self.whiten, self.ids, self.cache_gb = whiten, ids, cache_gb
        self.id_dropout = id_dropout
        if id_dropout and not ids:
            raise UserError(
                f"item.id_dropout={id_dropout}: items have no vectors of their own to drop: say "
                "item=text_and_ids, or item.id_dropout=0."
            )

    def check(self, model: nn.Module, adapter: Adapter, loss: Any) -> None:
        """Refuse early what could not work. Raises UserError."""
        table = getattr(model, "item", None)
        # Padding tells tables of sequences from those that stand beside a table of users.
        has_table = isinstance(table, nn.Embedding) and table.padding_idx is not None
        if not has_table and not isinstance(model, ReadsTexts):
            raise UserError(
                f"item=text: {type(model).__name__} has no table of items that texts could stand "
                "for. Models of sequences have one, such as model=sasrec."
            )
        if isinstance(getattr(model, "output", None), nn.Embedding) and not self.ids:
            raise UserError(
                f"item=text: {type(model).__name__} scores items by a second table of vectors of "
                "their own: say model.tied=true where it has that, or item=text_and_ids."
            )
        live = not isinstance(adapter, Frozen)
        self.meta_model(adapter)
        if live and not has_table:
            raise UserError(
                f"{type(model).__name__} is not trained, and takes adapter=frozen alone."
            )
        if live and loss is FullSoftmax:
            raise UserError(
                "loss=full_softmax scores the whole catalogue, so that a language model that is "
                "tuned would have to read all of it at every step: say loss=in_batch, or "
                "adapter=frozen."
            )

    def meta_model(self, adapter: Adapter) -> TextEncoder | None:
        """The language model under an adapter, without its weights: as a check, if it is here.

        Else it is fetched with the data. Raises UserError where they do not fit.
        """
        if (folder := model_here(self.name)) is None:
            return None
        language = load_language(folder, self.pooling, self.normalize, meta=True)
        check_length(language.encoder, "item.max_tokens", self.max_tokens)
        adapter.attach(language.encoder)
        return language.encoder

    def put_into(
        self,
        model: Any,
        adapter: Adapter,
        schema: Schema,
        catalogue: pl.DataFrame,
        trained: int,
        cache: Path,
    ) -> AdaptedModule | None:
        """Let texts stand for the item table of a model.

        Args:
            model: of sequences; its ``item`` is replaced.
            adapter: how the language model is tuned.
            schema: of the model.
            catalogue: row i describes item i.
            trained: items with training events, the first ones; whitening is fitted to them.
            cache: folder for what is made once.

        Returns:
            The language model under its adapter; None if nothing of it is tuned.

        Raises:
            UserError: where the catalogue or the language model has not what is asked for.
        """
        texts, tuned = self.read(adapter, catalogue, trained, cache)
        if isinstance(model, ReadsTexts):
            model.read_texts(texts(torch.arange(len(catalogue))))
            return None
        dim, device = model.item.embedding_dim, model.item.weight.device
        items = TextItems(schema, dim, texts, self.ids, trained=trained, id_dropout=self.id_dropout)
        model.item = items.to(device)
        if not self.ids and isinstance(bias := getattr(model, "output_bias", None), nn.Parameter):
            bias.requires_grad_(False)  # one for each item: it stays 0
        return tuned

    def read(
        self, adapter: Adapter, catalogue: pl.DataFrame, trained: int, cache: Path
    ) -> tuple[ItemTexts, AdaptedModule | None]:
        """Read the texts of a catalogue: once, or whenever they are asked for, where that is tuned.

        Args, errors: those of :meth:`put_into`.

        Returns:
            What makes vectors of the items, and the language model under its adapter; None if
            nothing of it is tuned.
        """
        language = load_language(find_model(self.name), self.pooling, self.normalize)
        texts = render_template(catalogue, self.template)
        tokens = tokenize(texts, language.tokenizer, self.max_tokens)
        folder = cache / "texts" / self._key(language, texts)
        known = read_vectors(language.encoder, tokens, folder / "vectors")
        tuned = AdaptedModule(language.encoder, adapter)
        tuned.report()
        reads: KnownTexts | ReadTexts = KnownTexts(known)
        if tuned.names:
            reads = ReadTexts(language.encoder, tokens, self._lower(tuned, tokens, folder))
            language.encoder.drop_from(tuned.lowest_tuned(language.encoder.layers))
        made: ItemTexts = reads
        if self.whiten:
            made = Whitened(reads, *whitening(known[:trained]))
        return made, tuned if tuned.names else None

    def _lower(self, tuned: AdaptedModule, tokens: Tokenized, folder: Path) -> Any:
        """What lies below the lowest layer that is tuned, if that is worth keeping."""
        encoder = tuned.module
        assert isinstance(encoder, TextEncoder)
        depth = tuned.lowest_tuned(encoder.layers)
        if not depth:
            return None
        wanted = 4 * int(tokens.offsets[-1]) * encoder.width / 2**30
        if wanted > self.cache_gb:
            log.warning(
                "What lies below layer %d would take %.1f GiB, more than item.cache_gb=%g: it is "
                "computed at each step.", depth, wanted, self.cache_gb,
            )  # fmt: skip
            return None
        why = ""
        try:
            lower = read_lower(encoder, tokens, depth, folder / f"layer_{depth}")
            goes_on = agrees(encoder, tokens, lower)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            # An architecture that hands on something else from layer to layer.
            goes_on, why = False, f" ({type(error).__name__}: {error})"
        if not goes_on:
            log.warning("%s cannot go on from a layer within%s: all is computed.", self.name, why)
        return lower if goes_on else None

    def _key(self, language: Language, texts: list[str]) -> str:
        encoder = language.encoder
        facts = [language.fingerprint, texts_hash(texts), self.max_tokens]
        return sha256_json([*facts, encoder.pooling, encoder.normalize])[:24]
