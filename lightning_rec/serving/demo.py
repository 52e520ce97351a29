"""A page to look at: histories are put together by title, and two models recommend side by side."""

from importlib.resources import files
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query
from fastapi.responses import Response
from pydantic import Field

from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.serving import schemas
from lightning_rec.serving.answering import reasons
from lightning_rec.serving.opening import Model, folded
from lightning_rec.serving.raw_ids import texts_of
from lightning_rec.serving.service import Service

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_POLICY = (
    "; ".join(f"{what} 'self'" for what in ("script-src", "style-src", "connect-src"))
    + "; default-src 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FOUND = 12  # titles that are offered
_SHOWN = 10  # items that a model recommends


class _Picked(schemas._Request):
    history: Annotated[list[schemas.Id], Field(max_length=1000)]


def routes(app: FastAPI, service: Service) -> tuple[str, ...]:
    """Add the page; the addresses that hold no data."""
    folder = files("lightning_rec.serving") / "page"
    static = {f"/demo/{name}": name for name in ("page.css", "page.js")} | {"/demo": "page.html"}

    def shown(name: str) -> Response:
        kind = f"{_KINDS[name.rpartition('.')[2]]}; charset=utf-8"
        text = (folder / name).read_text(encoding="utf-8")
        return Response(text, headers={"Content-Security-Policy": _POLICY}, media_type=kind)

    for path, name in static.items():
        app.add_api_route(path, lambda name=name: shown(name), include_in_schema=False)

    @app.get("/demo/items", include_in_schema=False)
    async def items(text: Annotated[str, Query(max_length=100)]) -> Any:
        """Items whose title or id has all the words."""
        return found(service.model, text)

    @app.post("/demo/recommend", include_in_schema=False)
    async def recommend(picked: _Picked) -> Any:
        """What each model recommends for a history, and by which item of it."""
        models = [each for each in (service.model, service.also) if each is not None]
        columns = [await _column(service, model, picked.history) for model in models]
        named = [_titled(service.model, name) for name in texts_of(picked.history)]
        begin = {} if picked.history else begin_with(service.model)
        return {"history": named, "models": columns} | begin

    return tuple(static)


def begin_with(model: Model) -> dict[str, Any]:
    """What is offered before the first pick: the ``popular`` items by the events of the users that
    the model keeps, ``counted``; else the first of its catalogue.
    """
    if not isinstance(model.predictor, SequencePredictor):
        return {}
    events = model.predictor.events
    best = np.argsort(-events, kind="stable")[:_FOUND].tolist()
    items = [_titled(model, model.items[code]) for code in best]
    return {"popular": items, "counted": bool(events.any())}


async def _column(service: Service, model: Model, history: list[schemas.Id]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    if history:
        k = min(_SHOWN, service.settings.k, len(model.items))
        answer = await service.recommend(history, None, k, "filter", model)
        codes = [model.codes[name] for name in texts_of(history) if name in model.codes]
        why = reasons(model, codes, [model.codes[row["item"]] for row in answer["items"]])
        rows = [row | {"why": each} for row, each in zip(answer["items"], why, strict=True)]
        for each in (*rows, *(row["why"] for row in rows if row["why"])):
            each["title"] = each.get("title") or _titled(service.model, each["item"])["title"]
    return {"name": model.predictor.name, "folder": model.folder, "items": rows}


def _titled(model: Model, item: str | None) -> dict[str, str]:
    name = item or ""
    code = model.codes.get(name)
    title = None if code is None or model.titles is None else model.titles[code]
    return {"item": name, "title": title or name}


def found(model: Model, text: str) -> list[dict[str, str]]:
    """Items whose title, else whose id, has all the words: ``item`` and ``title``, the shortest
    titles first. Neither case nor accents count.
    """
    words, fitting = folded(text).split(), []
    for code, (title, item) in enumerate(model.searched if words else ()):
        by_title = all(word in title for word in words)
        if by_title or all(word in item for word in words):
            fitting.append((not by_title, not title.startswith(words[0]), len(title), code))
    return [_titled(model, model.items[code]) for *_, code in sorted(fitting)[:_FOUND]]
