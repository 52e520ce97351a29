"""The models that a server answers with: opened here, and told apart by what they are asked."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal
from unicodedata import combining, normalize

from torch import Tensor

from lightning_rec.answers.confidence import Answering, read_confidence
from lightning_rec.bundle import identity_of, open_model, trying
from lightning_rec.bundle.manifest import MANIFEST
from lightning_rec.errors import UserError, listed
from lightning_rec.files import name_of
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.rules.given import table
from lightning_rec.serving.settings import Settings

Kind = Literal["sequences", "clicks", "matching"]


def folded(text: str) -> str:
    """Text without case and accents, as people type it into a search."""
    return "".join(c for c in normalize("NFKD", text.casefold()) if not combining(c))


@dataclass(frozen=True)
class Model:
    """An opened model.

    ``folder``: its name.  ``version``: changes whenever its files do.  ``answering``: of one of
    matching, what tells whether its first answer fits.
    """

    predictor: Predictor
    folder: str
    version: str
    answering: Answering | None = None

    @property
    def kind(self) -> Kind:
        """What it answers about."""
        if isinstance(self.predictor, ClickPredictor):
            return "clicks"
        return "matching" if isinstance(self.predictor, MatchPredictor) else "sequences"

    @cached_property
    def codes(self) -> dict[str, int]:
        """The code of each item."""
        return dict(zip(self.items, range(len(self.items)), strict=True))

    @cached_property
    def reads_events(self) -> bool:
        """Whether it reads more of events than their items: times, or columns."""
        if not isinstance(self.predictor, SequencePredictor):
            return False
        return self.predictor.model.reads_times or self.predictor.model.side is not None

    @cached_property
    def items(self) -> list[str]:
        """The id of each item by its code; a model of clicks has none."""
        if self.kind == "clicks":
            return []
        ids: list[str] = self.predictor.catalogue.items["item"].to_list()
        return ids

    @cached_property
    def titles(self) -> list[str | None] | None:
        """The title of each item by its code, where the catalogue has any."""
        if self.kind == "clicks" or "title" not in self.predictor.catalogue.items.columns:
            return None
        titles: list[str | None] = self.predictor.catalogue.items["title"].to_list()
        return titles

    @cached_property
    def searched(self) -> list[tuple[str, str]]:
        """The title and the id of each item by its code, as :func:`folded` has them."""
        titles = self.titles or [None] * len(self.items)
        return [(folded(t or ""), folded(i)) for t, i in zip(titles, self.items, strict=True)]

    @cached_property
    def directions(self) -> Tensor | None:
        """Vectors of items of length 1, float [V, D]; None where the model has none."""
        try:
            return self.predictor.directions()
        except UserError:
            return None

    @cached_property
    def users(self) -> dict[str, int]:
        """The code of each user that the run's log knew."""
        if not isinstance(self.predictor, SequencePredictor):
            return {}
        return dict(self.predictor.known_users.select("user", "code").iter_rows())


def open_served(path: Path, key: str = "model", confidence: Path | None = None) -> Model:
    """Open a bundle or run folder, or the one that a link leads to; ``key`` named it.

    ``confidence``: a file of ``answer --fit`` for it. Raises UserError where it is none, is not
    whole, or does not answer.
    """
    try:
        folder = path.resolve(strict=True)
    except OSError:
        raise UserError(f"{key}={path}: there is no such folder.") from None
    version = version_of(folder)
    predictor, answering = open_model(folder), None
    if confidence is not None:
        if not isinstance(predictor, MatchPredictor):
            raise UserError(f"confidence={confidence} is of a model of matching, not {key}={path}.")
        answering = Answering(predictor, read_confidence(confidence, identity_of(folder)))
    model = Model(predictor, name_of(folder), version, answering)
    _ = model.codes, model.titles, model.users  # looked up now, not in the first request
    trying.answers(model.predictor)
    return model


def open_all(settings: Settings) -> dict[str, Model]:
    """Open those that answer, by the name of their variant, all of one kind. Raises UserError."""
    models = {
        name: open_served(path, confidence=settings.confidence)
        for name, path in settings.paths.items()
    }
    items = settings.items
    described = None if items is None else table(items, "item")
    for model in models.values() if described is not None else ():
        if not isinstance(model.predictor, MatchPredictor):
            raise UserError(f"items={items} is of models of matching, not of {model.kind}.")
        model.predictor.describe(described)
    kinds = {model.kind: name for name, model in models.items()}
    if len(kinds) > 1:
        told = listed(f"'{name}' is of {kind}" for kind, name in kinds.items())
        raise UserError(f"variants= are models of one kind, and {told}.")
    return models


def version_of(folder: Path) -> str:
    """Twelve letters that change whenever the record of a folder's files does."""
    digest = hashlib.sha256()
    for name in (MANIFEST, "checksums.json", "run.json"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:12]
