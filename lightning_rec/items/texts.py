"""Items known by their texts, which a pretrained language model reads."""

import logging
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.items.base import OfVectors, Reading
from lightning_rec.language.cached import agrees, read_lower, read_vectors
from lightning_rec.language.encoder import Pooling, TextEncoder, check_length
from lightning_rec.language.hub import find_model, model_here
from lightning_rec.language.load import load_language
from lightning_rec.language.tokens import Tokenized, tokenize
from lightning_rec.losses.full import FullSoftmax
from lightning_rec.models.base import ReadsVectors, SequenceModel
from lightning_rec.models.items.adaptors import AdaptorName
from lightning_rec.models.items.ids import NEIGHBOURS
from lightning_rec.models.items.text import Latest, ReadTexts
from lightning_rec.models.items.vectors import KnownVectors, VectorSource, Whitened, whitening
from lightning_rec.ranges import BelowOne

log = logging.getLogger(__name__)


class Texts(OfVectors):
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
        adaptor: what maps the vectors: ``linear``, or ``moe``, a mixture of experts.
        experts: how many.
        adaptor_dropout: of what each expert reads.
        neighbours: known items most alike, of whose own vectors a new item has the mean; 0: none.
        cache_gb: most that the states below the lowest tuned layer may take on disk; else they
            are computed at each step.
        step_gb: about what a step of tuning may keep of the states of layers; those of further
            texts are computed twice, which takes up to a third longer and changes no result.
        texts_a_step: most texts that a step of tuning reads; others of its batch have the vectors
            that were made of them last. None reads all of a batch.
    """

    choice = "text"
    reads_new = True
    template: str

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
        neighbours: NonNegativeInt = NEIGHBOURS,
        cache_gb: PositiveFloat = 8.0,
        step_gb: PositiveFloat = 1.0,
        texts_a_step: PositiveInt | None = None,
        adaptor: AdaptorName = "linear",
        experts: PositiveInt = 8,
        adaptor_dropout: BelowOne = 0.2,
    ) -> None:
        self.name, self.template, self.max_tokens = encoder, template, max_tokens
        self.pooling, self.normalize = pooling, normalize
        self.whiten, self.cache_gb = whiten, cache_gb
        self.memory, self.texts_a_step = step_gb * 2**30, texts_a_step
        self._set_adaptor(adaptor, experts, adaptor_dropout)
        self._set_ids(ids, id_dropout, neighbours)
        self.languages = [self]
        self.title = f"texts{' and ids' if ids else ''}, read by {encoder}"

    def check_language(self, model: SequenceModel, adapter: Adapter, loss: Any) -> None:
        """Raise UserError where a model or a loss does not go with how the texts are read."""
        tuned = not isinstance(adapter, Frozen)
        self.meta_model(adapter)
        if tuned and isinstance(model, ReadsVectors):
            raise UserError(
                f"{type(model).__name__} is not trained, and takes adapter=frozen alone."
            )
        if tuned and loss is FullSoftmax:
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

    def read(self, reading: Reading) -> VectorSource:
        """Read the texts of a catalogue: once, or at each step, where the language model is tuned.

        Raises UserError where the catalogue or the language model has not what is asked for.
        """
        language = load_language(find_model(self.name), self.pooling, self.normalize)
        texts = render_template(reading.catalogue, self.template)
        tokens = tokenize(texts, language.tokenizer, self.max_tokens)
        facts = [language.fingerprint, sha256_json(texts), self.max_tokens]
        key = sha256_json([*facts, language.encoder.pooling, language.encoder.normalize])[:24]
        folder = reading.cache / "texts" / key
        known = read_vectors(language.encoder, tokens, folder / "vectors")
        tuned = AdaptedModule(language.encoder, reading.adapter)
        tuned.report()
        source: VectorSource = KnownVectors(known)
        if tuned.names:
            reading.tuned = tuned
            lower = self._lower(tuned, tokens, folder)
            latest = Latest(self.texts_a_step, known) if self.texts_a_step else None
            source = ReadTexts(language.encoder, tokens, lower, self.memory, latest)
            language.encoder.drop_from(tuned.lowest_tuned(language.encoder.layers))
        if not self.whiten:
            return source
        return Whitened(source, *whitening(known[: reading.trained]))

    def _lower(self, tuned: AdaptedModule, tokens: Tokenized, folder: Path) -> Any:
        """What lies below the lowest layer that is tuned, if that is worth keeping."""
        encoder = tuned.module
        assert isinstance(encoder, TextEncoder)
        depth = tuned.lowest_tuned(encoder.layers)
        if not depth:
            return None
        size = 4 * int(tokens.offsets[-1]) * encoder.width / 2**30
        if size > self.cache_gb:
            log.warning(
                "What lies below layer %d would take %.1f GiB, more than item.cache_gb=%g: it is "
                "computed at each step.", depth, size, self.cache_gb,
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
