"""The texts of matching: as they are, and as they are changed for training."""

from functools import partial

import numpy as np
from torch import nn

from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.templates import render_template
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
