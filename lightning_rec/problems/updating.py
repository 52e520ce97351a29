"""What a run of sequences of an earlier state of the log knew, beside what is known now."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import nn

from lightning_rec import config
from lightning_rec.data.ids import ids_of
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema, Split
from lightning_rec.data.templates import as_text
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.items.base import SumOf, known_by
from lightning_rec.items.images import Images
from lightning_rec.items.vectors import Vectors
from lightning_rec.methods.update import Before
from lightning_rec.models.items.ids import OwnVectors
from lightning_rec.problems.earlier_features import categories, rescaled
from lightning_rec.problems.sequence_tables import TRAINED, described_items
from lightning_rec.runs import weights
from lightning_rec.runs.folder import RunFolder

log = logging.getLogger(__name__)

ALIKE = ("model", "item", "objective", "adapter")  # parts of the config that decide the weights
FEW = 0.5  # of the users of a run, below which a log is no later state of its own


def before(
    cfg: Any, loaded: AuditedLog, folder: str, make: Callable[[Schema], nn.Module]
) -> Before:
    """What the run in ``folder`` knew. ``make``: the model over a schema, on the meta device.

    Raises UserError if it is of another model, or of another log.
    """
    run, split = RunFolder.open(Path(folder)), loaded.data.split
    check_alike(cfg, run, ALIKE)
    check_whitening(cfg)
    if cfg.objective._target_.endswith(".ClosedForm"):
        raise UserError(
            "method.run: this model is fitted at once and has no weights to go on with: train it "
            "anew."
        )
    items, known = described_items(loaded), run.table("items").sort("code")
    kept = trained(run)
    lists = kept.select(pl.col("items").list.head(pl.col("events")).explode())
    learnt = lists["items"].drop_nulls().unique().sort()
    items_there = places(items["item"], known["item"])
    items_there[~np.isin(items_there, learnt.to_numpy())] = -1  # without training events there
    users_there = places(loaded.data.log.users["user"], kept["user"])
    users_there[kept["events"].to_numpy()[users_there] == 0] = -1
    codes, there = (
        {"item": items_there, "user": users_there},
        {"item": len(known), "user": len(kept)},
    )
    learners, found = int((kept["events"] > 0).sum()), int((users_there >= 0).sum())
    if found < FEW * learners:
        raise UserError(
            f"method.run={folder} knows {learners:,} users, of whom this log has {found:,}: give "
            "the log as it is now with the events before, not the new events alone (data.path "
            "may be a folder of files)."
        )
    length = np.asarray(split.train_end) - split.offsets[:-1]
    arrived = {
        "new items": int(((items_there < 0) & (np.asarray(split.train_counts) > 0)).sum()),
        "new users": int(((users_there < 0) & (length > 0)).sum()),
    }
    fresh = items[np.flatnonzero(items_there < 0).tolist()]
    grows = growing(make, cfg.batches.max_len)
    for name, (then, now) in categories(cfg, make, known, items).items():
        codes[name], there[name], grows[name] = places(now, then), len(then), ((name,), ())
    return Before(
        rescaled(cfg, make, known, items, weights.found(run.path)),
        grows,
        codes,
        there,
        arrived,
        old_events(run, kept, split, users_there),
        partial(_nearest, fresh, known[learnt.to_list()]),
    )


def check_alike(cfg: Any, run: RunFolder, nodes: Iterable[str]) -> None:
    """Raise UserError unless nodes of a config are those of an earlier run."""
    for node in nodes:
        then, now = (config.plain(each.get(node)) for each in (run.config, cfg))
        if then != now:
            raise UserError(
                f"method.run={run.path} has another {node}= than this run: its weights are of "
                f"{then}, not of {now}. train from={run.path} takes its settings over."
            )


def check_whitening(cfg: Any) -> None:
    """Raise UserError where given vectors or those of pictures are whitened: by the items of now,
    along other directions than those that the run's map of them was learnt for; or where vectors
    are learnt of a graph.
    """
    node = known_by(cfg)
    if node is not None and node.reads_graph:
        raise graph_is_over()
    for each in node.parts.values() if isinstance(node, SumOf) else [node]:
        if isinstance(each, Vectors | Images) and each.whiten:
            raise UserError(
                f"method.run: {each.title} are whitened by the items of now, which is not what the "
                "run has learnt a map of: train it anew, or train runs that are to be gone on with "
                "by item.whiten=false."
            )


def graph_is_over() -> UserError:
    """What is raised where a run would go on with a graph, whose entities get other vectors."""
    return UserError(
        "method.run: what was learnt of a knowledge graph belongs to its entities of then: "
        "train anew."
    )


def places(ids: pl.Series, known: pl.Series) -> Ints:
    """The place of each id among the known ones, -1 for none: int64 [n]."""
    table = ids_of(known).to_frame("id").with_row_index("place").unique("id", keep="first")
    joined = ids_of(ids).to_frame("id").join(table, "id", "left", maintain_order="left")
    return joined["place"].cast(pl.Int64).fill_null(-1).to_numpy(writable=True)


def growing(
    make: Callable[[Schema], nn.Module], max_len: int, size: int = 100
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """With what the dimensions of each weight grow, ``user`` or ``item``, or both, users first:
    found by making the model anew with one more of each. Vectors that are added to what items are
    described by are made later, and known by their class.
    """
    with torch.device("meta"):
        model = make(Schema(size, max_len, size))
        base = model.state_dict()
        more = {
            "user": make(Schema(size, max_len, size + 1)).state_dict(),
            "item": make(Schema(size + 1, max_len, size)).state_dict(),
        }
    own = [name for name, each in model.named_modules() if isinstance(each, OwnVectors)]
    return {f"{name}.own.weight": (("item",), ()) for name in own} | {
        name: tuple(
            tuple(of for of, state in more.items() if state[name].shape[dim] != rows)
            for dim, rows in enumerate(each.shape)
        )
        for name, each in base.items()
    }


def trained(run: RunFolder) -> pl.DataFrame:
    """The users of a run: ``user``, ``items``, ``events`` and perhaps ``until``; see
    :func:`~lightning_rec.problems.sequence_tables.trained_of`.
    """
    if not (run.path / f"{TRAINED}.parquet").is_file():
        raise UserError(
            f"{run.path} does not say what it was trained on: it was made by an earlier version. "
            "Train it again."
        )
    return pl.concat([run.table("users"), run.table(TRAINED)], how="horizontal")


def old_events(run: RunFolder, kept: pl.DataFrame, split: Split, codes: Ints) -> Ints:
    """How many events of each user the run was trained on: int64 [U].

    By time where both know it, so that a log may begin later than that of the run; else by number.
    Raises UserError if a target of the test is among them.
    """
    if split.order == "none":
        raise UserError(
            "method.run: this protocol draws its test anew from all events, of which the run has "
            "learnt some: use protocol=temporal or leave_one_out."
        )
    there = codes >= 0
    old = np.where(there, kept["events"].to_numpy()[codes], 0).astype(np.int64)
    if split.times is not None and "until" in kept.columns:
        until = np.full(len(codes), -np.inf)
        until[there] = kept["until"].to_numpy()[codes[there]]
        owner = np.repeat(np.arange(len(codes)), np.diff(split.offsets))
        past = np.asarray(split.times) <= until[owner]
        old = np.minimum(old, np.bincount(owner[past], minlength=len(codes)))
    for part, examples in (("validation", split.val), ("test", split.test)):
        user, end = np.asarray(examples.user), np.asarray(examples.end)
        learnt = int((end - split.offsets[user] < old[user]).sum())
        told = f"{learnt:,} of {len(end):,} targets of {part} are events that {run.path} has learnt"
        if learnt and part == "test":
            raise UserError(f"{told}: give a log that goes on after it, or a later test.")
        if learnt:
            log.warning("%s: figures of validation are too good, and choose the epoch.", told)
    return old


def _nearest(new: pl.DataFrame, known: pl.DataFrame, k: int) -> Ints:
    """Codes of the ``k`` known items whose words are most alike those of each new item: TF-IDF
    over all columns of text, int64 [new, k], -1 where no word is common.
    """
    columns = [
        name for name, kind in known.schema.items()
        if name not in ("item", "code") and name in new.columns
        and (kind == pl.String or kind == pl.List(pl.String))
    ]  # fmt: skip
    if not columns:
        raise UserError(
            "method.new=text: the catalogue has no columns of text: say method.new=mean."
        )
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        each.select(pl.concat_str([as_text(each, name) for name in columns], separator=" "))
        .to_series().to_list()
        for each in (known, new)
    ]  # fmt: skip
    vectorizer = TfidfVectorizer()
    ours, theirs = vectorizer.fit_transform(texts[0]), vectorizer.transform(texts[1])
    found = np.full((len(new), k), -1, dtype=np.int64)
    for start in range(0, len(new), 512):
        scores = (theirs[start : start + 512] @ ours.T).toarray()
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        some = np.take_along_axis(scores, best[:, :1], axis=1)[:, 0] > 0
        found[start : start + 512][some] = known["code"].to_numpy()[best[some]]
    return found
