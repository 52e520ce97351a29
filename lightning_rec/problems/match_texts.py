"""The texts of matching: as they are, and as they are changed for training."""

from functools import partial
from typing import Any

import numpy as np
from torch import nn

from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.language.augment.texts import Augmentation, Learnt
from lightning_rec.models.text.matcher import LanguageScorer


def texts_of(matches: Matches) -> tuple[list[str], list[str]]:
    """All queries, and the texts of all items."""
    pairs = matches.pairs
    return pairs.queries["query"].to_list(), render_template(pairs.items, "{title}")


def learnt_texts(augment: Augmentation, model: nn.Module, matches: Matches) -> Learnt:
    """The texts to learn from; those of ``augment.texts`` change whenever they are taken."""
    assert isinstance(model, LanguageScorer)
    items = np.unique(matches.pairs.item[matches.pairs_of("train")]).astype(np.int64)
    change = partial(augment.read, tokenizer=model.tokenizer, cache=cache_dir())
    read = [
        change(texts, learnt, around=model.around(item=item))
        if name in augment.texts
        else model.read(texts, item=item)
        for name, texts, learnt, item in zip(
            Learnt._fields, texts_of(matches), (matches.train, items), (False, True), strict=True
        )
    ]
    return Learnt(*read)


def check_augment(augment: Augmentation | None, model: nn.Module, loss: Any) -> None:
    """Raise UserError where texts are to be changed for a model that learns from none."""
    if augment is not None and (not isinstance(model, LanguageScorer) or loss is None):
        raise UserError(
            f"augment changes texts that are learnt from, and {type(model).__name__} learns from "
            "none: leave augment= out, or say model=bi_encoder, cross_encoder."
        )
