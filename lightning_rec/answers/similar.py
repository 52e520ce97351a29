"""Items like an item: by the model's vectors, by texts, by both, or bought by the same users."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy import sparse

from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.models.best import best
from lightning_rec.predict.asking import check_k, series
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.unknown import unknown_items
from lightning_rec.rules.ready import Ready
from lightning_rec.rules.rules import Given, as_rules

BY = ("model", "text", "both", "bought_together")
LEAST = 2  # users who have both, below which two items say nothing of each other


def similar(
    model: SequencePredictor,
    items: Sequence[Any],
    k: int = 10,
    by: str = "model",
    rules: Given | None = None,
) -> pl.DataFrame:
    """The ``k`` items that are most like each of ``items``.

    Args:
        model: whose catalogue it is.
        items: raw ids.
        k: how many.
        by: ``model`` (cosine of its vectors), ``text`` (cosine of TF-IDF over titles and other
            text of the catalogue), ``both`` (their mean), or ``bought_together``: users who have
            both, over the root of the product of those who have either; at least two users.
        rules: ``allow``, ``deny`` and ``where``.

    Returns:
        ``item``, ``rank`` from 1, ``similar``, ``title`` where there are any, ``score``; and of
        ``bought_together``, ``together`` (users who have both) and ``lift`` (how many times as
        often as by chance).

    Raises:
        UserError: for an item that the run does not know, or what the run has not.
    """
    check_k(k, len(model.items) - 1, "an item has from 1 to {:,} others")
    if by not in BY:
        raise UserError(f"by={by}: it is unknown.{suggest(by, BY)}")
    asked = series("item", items)
    codes = _known(model, asked)
    if by == "model" and rules is None:
        return model.similar(items, k)  # by the index of the model, if it has one
    ready = None if rules is None else _ready(model, rules)
    more: dict[str, NDArray[Any]] = {}
    if by == "bought_together":
        scores, more = _together(model, codes)
    else:
        scores = _cosines(model, codes, by)
    scores = scores.astype(np.float32)
    if ready is not None and ready.allowed is not None:
        scores[:, ~ready.allowed] = -np.inf
    scores[np.arange(len(codes)), codes] = -np.inf
    top = best(torch.from_numpy(scores), k)
    row, place = (top.values > -torch.inf).nonzero(as_tuple=True)
    found = top.indices[row, place].numpy()
    told = pl.DataFrame({"item": asked.gather(row.tolist())})
    told = told.with_columns(rank=pl.Series((place + 1).numpy(), dtype=pl.UInt32))
    shown = model.catalogue.shown(found.tolist()).rename({"item": "similar"})
    columns = {"score": top.values[row, place].numpy()}
    columns |= {name: values[row.numpy(), found] for name, values in more.items()}
    scored = (pl.Series(name, values) for name, values in columns.items())
    return pl.concat([told, shown], how="horizontal").with_columns(scored)


def _ready(model: SequencePredictor, given: Given) -> Ready:
    """Rules over a catalogue. Raises UserError for those that change no list of similar items."""
    rules = as_rules(given)
    said = {each.name for each in fields(rules) if getattr(rules, each.name) is not each.default}
    if others := sorted(said - {"allow", "deny", "where"}):
        raise UserError(
            f"{listed(others)}: similar items are chosen by allow=, deny= and where= alone."
        )
    return model.ready(rules)


def _known(model: SequencePredictor, asked: pl.Series) -> NDArray[np.int64]:
    """Codes of items. Raises UserError, with what to do, for one that the run does not know."""
    code = model.catalogue.codes(asked)
    if code.has_nulls():
        told = unknown_items(asked.filter(code.is_null()), model.items["item"])
        raise UserError(
            f"{told} It knows the items that its "
            "training had; what is new has a vector only in a run that knows items by texts "
            "(item=text) and whose catalogue had it: train again with both."
        )
    return code.to_numpy().astype(np.int64)


def _cosines(model: SequencePredictor, codes: NDArray[np.int64], by: str) -> NDArray[np.float64]:
    """Cosines with all items, [n, V], by the model, by texts, or their mean."""
    parts = []
    if by in ("model", "both"):
        unit = model.directions()
        parts.append((unit[torch.from_numpy(codes)] @ unit.T).numpy())
    if by in ("text", "both"):
        read = tfidf(model.items)
        parts.append((read[codes] @ read.T).toarray())
    return np.mean(parts, axis=0)


def tfidf(items: pl.DataFrame) -> sparse.csr_matrix:
    """Words of all text columns but the id, weighed by (1 + log tf) idf, rows of length 1."""
    texts = [
        pl.col(name).list.join(" ") if isinstance(kind, pl.List) else pl.col(name)
        for name, kind in items.schema.items()
        if name != "item" and kind in (pl.String, pl.List(pl.String))
    ]
    if not texts:
        raise UserError("The catalogue of this run has no texts: use by=model.")
    joined = items.select(pl.concat_str(texts, separator=" ", ignore_nulls=True).alias("text"))
    words = joined["text"].str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+").alias("word")
    counts = (
        words.to_frame()
        .with_row_index("row")
        .explode("word", empty_as_null=True, keep_nulls=True)
        .drop_nulls()
        .group_by("row", "word", maintain_order=True)
        .len("tf")
        .with_columns(
            idf=(1 + len(items)) / (1 + pl.len().over("word")),
            place=pl.col("word").rank("dense") - 1,
        )
    )
    weight = (1 + counts["tf"].log()) * (counts["idf"].log() + 1)
    at = (counts["row"].to_numpy(), counts["place"].to_numpy())
    shape = (len(items), int(at[1].max()) + 1 if len(counts) else 1)
    matrix = sparse.csr_matrix((weight.to_numpy(), at), shape=shape)
    length = np.sqrt(matrix.multiply(matrix).sum(axis=1)).A1
    return sparse.diags(1 / np.where(length > 0, length, 1)) @ matrix


def _together(
    model: SequencePredictor, codes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """Scores, users who have both, and lift: each [n, V]."""
    if model.users is None:
        raise UserError("This run keeps no users: train it again, or ask by=model.")
    flat = model.users.select("items").with_row_index("user")
    flat = flat.explode("items", empty_as_null=True, keep_nulls=True).drop_nulls().unique()
    at = (flat["user"].to_numpy(), flat["items"].to_numpy())
    shape = (len(model.users), len(model.items))
    had = sparse.csr_matrix((np.ones(len(flat)), at), shape=shape)
    both = (had[:, codes].T @ had).toarray()
    each = np.asarray(had.sum(axis=0)).ravel()
    scale = np.maximum(np.outer(each[codes], each), 1)
    score = np.where(both >= LEAST, both / np.sqrt(scale), -np.inf)
    return score, {"together": both.astype(np.int64), "lift": both * len(model.known_users) / scale}
