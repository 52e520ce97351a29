"""A trained model of sequences, asked for the items that come next."""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_rec.data.batches import pairs
from lightning_rec.data.ids import ids_of
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.models import kernels
from lightning_rec.models.base import InnerProduct, SequenceModel
from lightning_rec.models.blocks import encode
from lightning_rec.objectives.base import Objective
from lightning_rec.predict.asking import (
    ROWS,
    Asked,
    Catalogue,
    Frame,
    Histories,
    arrays,
    check_k,
    cut,
    frame,
    numbered,
    series,
    split,
)
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.batches import asked_by, batch, lacking
from lightning_rec.predict.new_items import with_new
from lightning_rec.predict.ruled import NOTHING, Lists, plain_lists, ruled_lists, shown, top_of
from lightning_rec.predict.told import Told
from lightning_rec.predict.unknown import NO_USERS, unknown_users
from lightning_rec.retrieval.exact import Pairs, among
from lightning_rec.rules.rules import Given

if TYPE_CHECKING:
    from lightning_rec.rules.ready import Ready

TOKENS = 4096  # places of them that are computed at once


class SequencePredictor(Predictor):
    """A trained model of sequences with its vocabulary; ``objective`` asks it for the next item.

    ``items``: ``item``, perhaps ``title``; row i is item code i. ``users``: ``user``, ``items``
    (codes, oldest first), perhaps their ``times``, ``events`` (rows of each) and what is known
    ``about`` a user; row i is user code i; None where a run kept none. ``seen``: whether seen items
    are recommended (``keep``) or not, where nobody says.
    """

    def __init__(
        self,
        model: SequenceModel,
        objective: Objective,
        items: pl.DataFrame,
        users: pl.DataFrame | None,
        seen: str,
    ) -> None:
        self.model, self.objective, self.seen = model.eval(), objective, seen
        self.items, self.users = items, users
        self.name = type(model).__name__
        self.catalogue = Catalogue(items)

    @classmethod
    def of(cls, run: Any, problem: Any, new_items: Frame | None = None) -> Self:
        """That of a completed run. Raises UserError where it does not hold what it needs."""
        known = run.table("items").sort("code").drop("code")
        users = run.table("users") if (run.path / "users.parquet").is_file() else None
        items = with_new(known, new_items, getattr(problem.items, "template", None))
        model = problem.restored(run, items, 0 if users is None else len(users), len(known))
        model.requires_grad_(False)
        return cls(model, problem.objective, items, users, problem.protocol.seen)

    @torch.no_grad()
    def recommend(
        self,
        histories: Histories | None = None,
        *,
        users: Sequence[Any] | pl.Series | None = None,
        k: int = 10,
        seen: str | None = None,
        rules: "Given | Ready | None" = None,
        told: Told | None = None,
        strict: bool = True,
    ) -> pl.DataFrame:
        """The ``k`` best items for each history, or for each user by what the log knew of him.

        Args:
            histories: lists of item ids, oldest first; or a frame of ``user`` and ``item``, a row
                for each event, in the order of ``time`` (dates, or seconds since 1970) if it has
                that, else of its rows, with columns that the model reads of events, if it does; or
                one of ``user`` and ``history``, which has lists.
            users: ids of the log that the run was trained on.
            k: how many.
            seen: ``filter`` leaves out the items of the history, ``keep`` does not; None does what
                the run's protocol does.
            rules: what may be recommended, and in which order; see :class:`Rules`.
            told: is added what else is to be told, such as what rules cost; None logs it.
            strict: whether a user that the run does not know is an error; else he gets nothing.

        Returns:
            ``user`` (for lists ``row``, their number), ``rank`` from 1, ``item``, ``title`` where
            there are any, ``score`` (with boosts), and ``propensity`` where rules explore. There
            are fewer rows where there are no more candidates, and none for a history without a
            known item, which is told.

        Raises:
            UserError: for an unknown user, a bad ``k`` or ``seen``, or where nothing is asked.
        """
        check_k(k, len(self.items), "say 1 to {:,}, as many items as this run knows")
        ready = None if rules is None else self.ready(rules)
        tell = told or Told()
        found = self.answer(self.asked(histories, users, tell, strict=strict), k, seen, ready, tell)
        if told is None:
            tell.log(k)
        return found

    def history_of(self, user: Any) -> pl.Series:
        """Item codes of a user that the run keeps, oldest first. Raises UserError if unknown."""
        return pl.Series(self._known(series("user", [user]), Told(), strict=True).items)

    def ready(self, rules: "Given | Ready") -> "Ready":
        """Rules over this catalogue. Raises UserError where they do not fit it."""
        vectors = partial(self._pointing, "diversity")
        from lightning_rec.rules.ready import made_ready  # reads tables, too: not for an answer

        return made_ready(rules, self.items, self.catalogue.codes, vectors, lambda: self.events)

    @cached_property
    def events(self) -> Ints:
        """How often each item was met by the users that the run keeps, int64 [V]."""
        known: Any = [] if self.users is None else self.users["items"].explode().drop_nulls()
        return np.bincount(np.asarray(known, dtype=np.int64), minlength=len(self.items))

    def answer(
        self,
        asked: Asked,
        k: int,
        seen: str | None = None,
        ready: "Ready | None" = None,
        told: Told | None = None,
    ) -> pl.DataFrame:
        """The ``k`` best items for histories of item codes; see :meth:`recommend`."""
        if seen not in (None, "filter", "keep"):
            raise UserError(f"seen={seen}: it is filter or keep.")
        told, drawn = told or Told(), ready is not None and bool(ready.draw)
        parts = self.lists(asked, k, seen, ready, told)
        return shown(parts, asked, k, self.catalogue, told, drawn=drawn)

    @torch.no_grad()
    def lists(
        self,
        asked: Asked,
        k: int,
        seen: str | None = None,
        ready: "Ready | None" = None,
        told: Told | None = None,
    ) -> list[Lists]:
        """What :meth:`answer` shows, as codes, some histories at a time."""
        if told is not None:
            told.lacks += filter(None, [lacking(self.model, self.users, *asked.said)])
        adjust = None if ready is None else ready.adjust
        retriever = self.indexed.retriever(self.model, adjust, self.some_queries)
        keys = ids_of(asked.key).hash(seed=0).to_numpy() if ready and ready.draw else None
        parts = [NOTHING]
        for rows, queries in self.queries(asked):
            top = top_of(retriever, queries, self._left_out(asked, rows, seen), self.model, ready)
            if ready is None or not ready.rules.choosing:
                found = plain_lists(top(torch.arange(len(rows)), k))
            else:
                own = np.zeros(len(rows), np.uint64) if keys is None else keys[rows]
                taste = ready.tastes(asked.items, asked.offsets, rows)
                found = ruled_lists(top, own, k, len(self.items), ready, told or Told(), taste)
            parts.append(found._replace(row=rows[found.row]))
        return parts

    @torch.no_grad()
    def score(self, rows: Frame) -> pl.DataFrame:
        """The score of each row, a ``user`` and an ``item``: the rows, ``score`` added (Float32).

        It is null where the run does not know the item, or knows nothing of the user.
        """
        given = frame(rows, "user", "item", answers=["score"])
        if lists := [name for name in ("user", "item") if given[name].dtype.is_nested()]:
            raise UserError(f"The column '{lists[0]}' holds lists: a row is one user and one item.")
        users = ids_of(given["user"])
        asked = self.asked(None, users.unique(maintain_order=True).drop_nulls(), strict=False)
        of = users.to_frame("id").join(
            numbered(asked.key, "id"), "id", "left", maintain_order="left"
        )
        row, code = of["code"], self.catalogue.codes(given["item"])
        known = np.flatnonzero((row.is_not_null() & code.is_not_null()).to_numpy())
        scores = np.full(len(given), np.nan, dtype=np.float32)
        history, item = (each.to_numpy()[known].astype(np.int64) for each in (row, code))
        for number, queries in self.queries(asked):
            left_out = self._left_out(asked, number)
            queries = among(self.model, queries, Pairs.none(queries.device), left_out)
            query = np.full(len(asked.key), -1)
            query[number] = np.arange(len(number))
            for some in split(np.flatnonzero(query[history] >= 0), 2**14):
                own = torch.from_numpy(item[some])[:, None]
                made = self.model.scores(queries[torch.from_numpy(query[history[some]])], own)
                scores[known[some]] = made[:, 0].float().numpy()
        return given.with_columns(pl.Series("score", scores).fill_nan(None))

    @torch.no_grad()
    def user_vectors(
        self, histories: Histories | None = None, *, users: Sequence[Any] | None = None
    ) -> pl.DataFrame:
        """The vector of each history or user, whose inner product with an item's is its score.

        Args, errors: those of :meth:`recommend`. Returns ``user`` or ``row``, and ``vector``.
        """
        bias = self._vectors("user_vectors", biased=True).shape[1]
        asked = self.asked(histories, users)
        vectors = np.zeros((len(asked.key), bias), dtype=np.float32)
        known = np.zeros(len(asked.key), dtype=bool)
        for rows, queries in self.queries(asked):
            vectors[rows, : queries.shape[1]], known[rows] = queries.float().numpy(), True
            vectors[rows, queries.shape[1] :] = 1  # what meets an item's bias
        return pl.DataFrame([asked.key, arrays(vectors)]).filter(pl.Series(known))

    def _left_out(self, asked: Asked, rows: Ints, seen: str | None = None) -> Pairs:
        """What is no candidate for some histories, by their place among ``rows``."""
        start = rows if (seen or self.seen) == "filter" else rows + 1
        return Pairs(*pairs(asked.items, asked.offsets[start], asked.offsets[rows + 1]))

    @torch.no_grad()
    def queries(self, asked: Asked) -> Iterator[tuple[Ints, Tensor]]:
        """Numbers of histories, int64 [m], and their queries, float [m, Q], some at a time."""
        length = np.diff(asked.offsets)
        order = np.argsort(-length, kind="stable")[: np.count_nonzero(length)]
        with kernels.using(False):  # without dropout torch's own are sooner, most of all for few
            for rows in split(order, ROWS):
                histories = batch(asked, rows, self.model, self.users)
                question = self.objective.query_inputs(histories, self.model.schema)
                yield rows, encode(self.model, *question, TOKENS)

    def asked(
        self,
        histories: Histories | None,
        users: Sequence[Any] | pl.Series | None,
        told: Told | None = None,
        *,
        strict: bool = True,
    ) -> Asked:
        """What is asked by :meth:`recommend`; unless ``strict``, unknown users are left out."""
        if (histories is None) == (users is None):
            raise UserError("Say whom it is for: either histories=… or users=[…].")
        if users is not None:
            return self._known(series("user", users), told or Told(), strict=strict)
        if getattr(self.model, "needs_users", False):
            raise UserError(
                f"{self.name} has a vector for each user that it was trained on, and none of a "
                "history: ask for users=[…]."
            )
        return asked_by(histories, self.catalogue, told or Told(), self.model)

    def _known(self, users: pl.Series, told: Told, *, strict: bool) -> Asked:
        """What the run's log knew of some users."""
        if self.users is None:
            raise UserError(NO_USERS)
        of = pl.DataFrame({"user": users, "id": ids_of(users)})
        of = of.join(self._user_codes, "id", "left", maintain_order="left")
        unknown = of.filter(pl.col("code").is_null())
        if len(unknown) and strict:
            raise unknown_users(unknown["id"], self.known_users["user"], self.users["user"])
        told.unknown_users += len(unknown)
        told.keep("users", unknown["user"])
        code = (of := of.drop_nulls("code"))["code"].to_list()
        there = {"times", "events"} & set(self.users.columns)
        more = {name: self.users[name].gather(code) for name in there}
        items = self.users["items"].gather(code)
        return cut(of["user"], items, np.array(code, dtype=np.int64), **more)

    @cached_property
    def known_users(self) -> pl.DataFrame:
        """``code``, ``user``, ``items`` of users with an event; filters leave others without."""
        none: Any = {"user": pl.String, "items": pl.List(pl.UInt32)}
        users = pl.DataFrame(schema=none) if self.users is None else self.users
        return users.with_row_index("code").filter(pl.col("items").list.len() > 0)

    @cached_property
    def _user_codes(self) -> pl.DataFrame:
        found = self.known_users.select("code", ids_of(self.known_users["user"]).alias("id"))
        return found.unique("id", keep="first", maintain_order=True)

    def _vectors(self, what: str, *, biased: bool = False) -> Tensor:
        if not isinstance(self.model, InnerProduct):
            raise self._cannot(what)
        weight, bias = self.model.vectors()
        weight = weight.detach().float()
        return weight if bias is None or not biased else torch.cat([weight, bias[:, None]], dim=1)
