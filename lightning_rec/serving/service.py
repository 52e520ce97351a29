"""The models of a server, what users did, and how both answer: behind HTTP, the page and MCP."""

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from polars.exceptions import PanicException

from lightning_rec import __version__
from lightning_rec.errors import UserError, listed
from lightning_rec.predict.asking import check_k
from lightning_rec.rules.rules import Rules
from lightning_rec.serving import answering
from lightning_rec.serving.cache import Cache
from lightning_rec.serving.compute import Compute
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.events import events_of, frame_of
from lightning_rec.serving.histories import History
from lightning_rec.serving.opening import Model, open_all, open_served
from lightning_rec.serving.personal import NO_TASTE, Personal, open_personal
from lightning_rec.serving.raw_ids import Id, texts_of
from lightning_rec.serving.ruled import recommended_by_rules
from lightning_rec.serving.schemas import Item
from lightning_rec.serving.sessions import sessions_of
from lightning_rec.serving.settings import Settings
from lightning_rec.serving.telling import Figures
from lightning_rec.serving.whom import named, needs_users, of_items, of_user, user_of
from lightning_rec.trials import Assignment

log = logging.getLogger(__name__)

Told = dict[str, Any]


class Service:
    """Answers questions by the model that is loaded now; ``settings``: see :class:`Settings`.

    ``model``: the one that answers; of an experiment the first of its ``models``, which
    ``assignment`` gives to users.  ``also``: a second one, for the page.  ``problem``: why the
    latest reload was refused.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.figures = settings, Figures()
        self.compute = Compute(settings.batch, self.figures.batched)
        self.models = open_all(settings)
        self.also = open_served(settings.also, "also") if settings.also else None
        self.personal = open_personal(settings, self.model)
        self.assignment = None
        if settings.variants:
            self.assignment = Assignment(settings.experiment, settings.parts)
        if settings.interleave and self.model.kind != "sequences":
            raise UserError(f"{named(self.model)}: interleave=true is of models of sequences.")
        self.sessions = sessions_of(settings)
        self.cache = Cache(settings.cache, settings.cache_seconds)
        self.problem: str | None = None
        self._loading = asyncio.Lock()
        self._loaded()

    @property
    def model(self) -> Model:
        """See the class."""
        return next(iter(self.models.values()))

    async def recommend(
        self,
        history: Sequence[Item] | None,
        user: Id | None,
        k: int,
        seen: str | None,
        model: Model | None = None,
        rules: Rules | None = None,
    ) -> Told:
        """The ``k`` best items for a history or a user; see :class:`schemas.RecommendRequest`.

        Raises Refusal.
        """
        model = model or self.model
        if model.kind != "sequences":
            raise Refusal("cannot_answer", f"{named(model)}, which recommends for no histories.")
        self.check_k(k, len(model.items), "say 1 to {:,}, as many items as the model knows")
        if (history is None) == (user is None):
            raise Refusal("invalid", "Say whom it is for: either history or user.")
        if history is not None:
            asked, unknown = of_items(model, history, self.settings.history)
            return await self._ranking(model, k, seen, asked, unknown, rules)
        name = user_of(user)
        events = await self.sessions.read(name)
        if rules is not None:  # whose answers hold for a moment, and are not kept
            asked, unknown = of_user(model, name, events)
            return await self._ranking(model, k, seen, asked, unknown, rules, name)
        key = (model.version, name, events, k, seen)
        kept = self.cache.get(key)
        self.figures.cache.labels("no" if kept is None else "yes").inc()
        if kept is None:
            asked, unknown = of_user(model, name, events)
            kept = await self._ranking(model, k, seen, asked, unknown)
            self.cache.put(key, kept)
        found: Told = kept
        return found

    async def similar(self, items: Sequence[Id], k: int) -> Told:
        """Items that are like each of ``items``. Raises Refusal."""
        model = self.model
        if model.kind == "clicks":
            raise Refusal("cannot_answer", f"{named(model)}, which compares no items.")
        self.check_k(k, len(model.items) - 1, "an item has from 1 to {:,} others")
        names = texts_of(items)
        known = [name for name in names if name in model.codes]
        if len(known) < len(names):
            unknown = [
                raw for raw, name in zip(items, names, strict=True) if name not in model.codes
            ]
            raise Refusal(
                "unknown_item", f"The model does not know the items {listed(unknown, 5)}."
            )
        work = partial(answering.similar, model, k)
        rows = await self.ask(("similar", id(model), k), work, known)
        return {"items": rows, "model": model.version}

    async def search(
        self,
        query: str,
        k: int,
        rules: Rules | None = None,
        model: Model | None = None,
        *,
        user: Id | None = None,
        history: Sequence[Item] | None = None,
        seen: str | None = None,
    ) -> Told:
        """The items of the catalogue for a text; see :class:`schemas.SearchRequest`.

        Raises Refusal.
        """
        model = model or self.model
        if model.kind != "matching":
            raise Refusal("cannot_answer", f"{named(model)}, which reads no queries.")
        if user is not None or history is not None:
            if self.personal is None:
                raise Refusal("cannot_answer", NO_TASTE)
            whom = await self.personal.whom(self.sessions, user, history, self.settings.history)
            return await self._personal(self.personal, query, k, rules, whom, seen or "keep")
        if seen is not None:
            raise Refusal("invalid", "seen: it is of a user or a history.")
        self.check_k(k, len(model.items), "say 1 to {:,}, as many items as the model knows")
        work = partial(answering.searched, model, k, rules=rules)
        found: Told = await self.ask(("search", id(model), k, repr(rules)), work, query)
        return found | {"model": model.version}

    async def _personal(
        self,
        personal: Personal,
        query: str,
        k: int,
        rules: Rules | None,
        whom: tuple[str, History, int],
        seen: str,
    ) -> Told:
        self.check_k(k, personal.search.among, "taste puts the best {:,} of a query in order")
        version, (name, history, unknown) = self.model.version, whom
        work = partial(personal.answered, k, seen, rules)
        group = ("personal", id(personal), k, seen, repr(rules), history.kind)
        found: Told = await self.ask(group, work, (query, name, history))
        return found | {"unknown_items": unknown, "model": version}

    async def predict(self, rows: list[Told], context: Told | None = None) -> Told:
        """The scores of raw rows. Raises Refusal."""
        model = self.model
        if len(rows) > self.settings.rows:
            raise Refusal("too_large", f"A request has at most {self.settings.rows:,} rows.")
        if context and model.kind != "clicks":
            raise Refusal("cannot_answer", f"{named(model)}, which reads no context.")
        frame = answering.rows_of(rows)
        group = ("predict", id(model), tuple(frame.schema.items()), repr(context))
        scores = await self.ask(group, partial(answering.scored, model, context=context), frame)
        return {"scores": scores, "model": model.version}

    async def take(self, user: Id, items: Sequence[Item], key: str | None) -> Told:
        """Take in what a user did. Raises Refusal."""
        model = self.personal.taste if self.personal else self.model
        if model.kind != "sequences" or needs_users(model):
            raise Refusal("cannot_answer", f"{named(model)}: events change none of its answers.")
        events = events_of(items)
        if not all(each.item for each in events):
            raise Refusal("invalid", "items: there is one that is no id, such as an empty text.")
        if any(each.said for each in events):
            frame_of(events)  # what a model could not read is told now, and not at every answer
        done = await self.sessions.append(user_of(user), events, key)
        if not done.repeated:
            self.figures.events.inc(len(events))
        unknown = sum(each.item not in model.codes for each in events)
        return {"events": done.total, "repeated": done.repeated, "unknown_items": unknown}

    async def reload(self) -> None:
        """Open what ``model=`` leads to now, and answer with it.

        Raises UserError where it is broken; the one before it then goes on.
        """
        async with self._loading:
            try:
                models = await asyncio.to_thread(open_all, self.settings)
                first = next(iter(models.values()))
                if first.kind != self.model.kind:
                    told = f"{named(first)}, and the one before was one of {self.model.kind}."
                    raise UserError(told)
                personal = await asyncio.to_thread(open_personal, self.settings, first)
            except (Exception, PanicException) as error:
                known = isinstance(error, UserError | Refusal)
                self.problem = str(error) if known else f"{type(error).__name__}: {error}"
                self.figures.reloads.labels("refused").inc()
                log.error("The model stays as it was, %s: %s", self.model.version, self.problem)
                raise UserError(f"The model stays as it was. {self.problem}") from error
            self.figures.model.clear()
            self.models, self.personal, self.problem = models, personal, None
            self.figures.reloads.labels("done").inc()
            self._loaded()

    def described(self) -> Told:
        """See :class:`schemas.Version`."""
        model = self.model
        return {
            "package": __version__,
            "model": model.predictor.name,
            "name": model.folder,
            "kind": model.kind,
            "items": len(model.items) or None,
            "version": model.version,
            "taste": self.personal.taste.version if self.personal else None,
            "loaded": self.loaded,
            "experiment": self.settings.experiment or None,
            "variants": {name: each.version for name, each in self.models.items() if name} or None,
            "reload_error": self.problem,
        }

    @property
    def versions(self) -> list[str]:
        """Of the models that answer now."""
        taste = [self.personal.taste.version] if self.personal else []
        return [*(model.version for model in self.models.values()), *taste]

    async def close(self) -> None:
        """End the thread, and give back what sessions hold."""
        await asyncio.to_thread(self.compute.end)
        await self.sessions.close()

    async def _ranking(
        self,
        model: Model,
        k: int,
        seen: str | None,
        asked: History,
        unknown: int,
        rules: Rules | None = None,
        name: str = "0",  # of a history, as where Python is asked for one
    ) -> Told:
        if rules is None:
            work = partial(answering.recommended, model, k, seen)
            rows = await self.ask(("recommend", id(model), k, seen, asked.kind), work, asked)
            found: Told = {"items": rows}
        else:
            by_rules = partial(recommended_by_rules, model, k, seen, rules)
            group = ("ruled", id(model), k, seen, repr(rules), asked.kind)
            found = await self.ask(group, by_rules, (name, asked))
        if words := answering.unsaid(model, asked, unknown):
            found = found | {"note": f"{found.get('note', '')} {words}".strip()}
        return found | {"unknown_items": unknown, "model": model.version}

    async def ask(self, group: Any, work: Any, question: Any) -> Any:
        """See :meth:`Compute.ask`; what the model refuses is a Refusal."""
        try:
            return await self.compute.ask(group, work, question)
        except UserError as error:
            code = "cannot_answer" if " cannot answer " in str(error) else "refused"
            raise Refusal(code, str(error)) from None

    def check_k(self, k: int, most: int, told: str) -> None:
        """Raise Refusal unless ``k`` is from 1 to ``most``, and no more than the server gives."""
        if k > self.settings.k:
            raise Refusal(
                "too_large", f"k={k}: this server answers with {self.settings.k:,} at most."
            )
        try:
            check_k(k, most, told)
        except UserError as error:
            raise Refusal("refused", str(error)) from None

    def _loaded(self) -> None:
        self.loaded = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for model in self.models.values():
            self.figures.model.labels(model.folder, model.version).set(1)
