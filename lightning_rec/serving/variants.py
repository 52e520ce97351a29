"""Several models at once: an experiment on users, by variants or in one list.

Which model answers is decided by the hash of :class:`Assignment`, and nothing is kept. Whoever is
not in the experiment, or is asked for without a name, gets the first model.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from lightning_rec.monitoring.observed import LATEST
from lightning_rec.rules.rules import Rules
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.events import names_of
from lightning_rec.serving.opening import Model
from lightning_rec.serving.raw_ids import Id, text_of
from lightning_rec.serving.schemas import Item, RecommendRequest
from lightning_rec.serving.service import Service, Told
from lightning_rec.serving.whom import log_of, since_log
from lightning_rec.trials.interleaving import team_draft


class Unit(NamedTuple):
    """Whom a request is for, by name, and his variant; both None where there is none."""

    name: str | None
    variant: str | None


def unit_of(service: Service, user: Id | None, unit: Id | None = None) -> Unit:
    """The unit of a request: what it says, or its user. Raises Refusal where it says both."""
    if user is not None and unit is not None:
        raise Refusal("invalid", "unit: a user is his own unit; say it where there is no user.")
    said = unit if user is None else user
    name = None if said is None else text_of(said)
    if name is None or service.assignment is None:
        return Unit(name, None)
    return Unit(name, service.assignment.of(name))


def model_of(service: Service, unit: Unit) -> Model:
    """The model that answers a unit."""
    return service.model if unit.variant is None else service.models[unit.variant]


def marked(answer: Told, unit: Unit) -> Told:
    """The answer with its variant, where there is one; what is kept is not changed."""
    return answer if unit.variant is None else answer | {"variant": unit.variant}


async def recommended(
    service: Service,
    history: Sequence[Item] | None,
    user: Id | None,
    k: int,
    seen: str | None,
    rules: Rules | None = None,
    unit: Id | None = None,
) -> Told:
    """See :meth:`Service.recommend`; by the model of the unit, or by both in one list."""
    of = unit_of(service, user, unit)
    if not service.settings.interleave or of.variant is None:
        model = model_of(service, of)
        return marked(await service.recommend(history, user, k, seen, model, rules), of)
    names = list(service.models)
    asked = (service.recommend(history, user, k, seen, service.models[n], rules) for n in names)
    found = await asyncio.gather(*asked)
    rows = [{row["item"]: row for row in answer["items"]} for answer in found]
    key = f"{service.settings.experiment}\0{of.name}\0" + "\0".join(rows[0])
    drafted = team_draft(list(rows[0]), list(rows[1]), k, key)
    items = [
        rows[team][item] | {"rank": rank, "team": names[team]}
        for rank, (item, team) in enumerate(drafted, 1)
    ]
    if found[0].get("note") != found[1].get("note"):  # of one list alone
        found[0].pop("note", None)
    return found[0] | {"items": items}


def logged(service: Service, unit: Unit, answer: Told | None = None) -> dict[str, Any]:
    """What the request log tells of an answer beside the request."""
    settings, told = service.settings, dict[str, Any]()
    if unit.name is not None:
        told["user"] = unit.name
    if settings.log is None or answer is None:
        return told
    told["model"] = answer["model"]
    rows = answer["items"]
    if unit.variant is not None:
        told["experiment"] = settings.experiment
        told["variant"] = "interleaved" if settings.interleave else unit.variant
    if settings.logs_items:
        told["items"] = [row["item"] for row in rows]
        told["scores"] = [float(f"{row['score']:.6g}") for row in rows]
        if rows and "propensity" in rows[0]:
            told["propensities"] = [row["propensity"] for row in rows]
        if rows and "team" in rows[0]:
            told["teams"] = [row["team"] for row in rows]
    return told


async def history_logged(service: Service, asked: RecommendRequest, unit: Unit) -> dict[str, Any]:
    """What the request log tells of a request: unit, latest ids of the history, how many it has."""
    settings, told = service.settings, logged(service, unit)
    if settings.log is None or not settings.logs_items or service.model.kind != "sequences":
        return told
    if asked.history is not None:
        known = names_of(asked.history[-LATEST:])
        return told | {"history": known, "length": len(asked.history)}
    name = text_of(asked.user) if asked.user is not None else None
    if name is None:
        return told
    model, codes = model_of(service, unit), log_of(model_of(service, unit), name)
    events = since_log(model, name, await service.sessions.read(name))
    before = (model.items[code] for code in codes[-LATEST:])
    latest = [*before, *(each.item for each in events)][-LATEST:]
    return told | {"history": latest, "length": len(codes) + len(events)}
