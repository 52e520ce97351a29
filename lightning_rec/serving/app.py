"""The HTTP interface over a :class:`Service`: addresses, their requests, answers and errors."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from lightning_rec import __version__
from lightning_rec.errors import UserError
from lightning_rec.serving import demo, responses, schemas
from lightning_rec.serving.candidates import is_of_clicks, of_candidates, wanted
from lightning_rec.serving.direct import Direct
from lightning_rec.serving.errors import STATUS, Refusal, of_status
from lightning_rec.serving.events import names_of
from lightning_rec.serving.guard import Guard
from lightning_rec.serving.keys import Keys
from lightning_rec.serving.ruled import rules_of
from lightning_rec.serving.service import Service
from lightning_rec.serving.tools import Tools
from lightning_rec.serving.variants import (
    history_logged,
    logged,
    marked,
    model_of,
    recommended,
    unit_of,
)

T = TypeVar("T")
_TITLES = {
    400: "Not understood, or refused by the model.",
    401: "No key, or a wrong one.",
    403: "Not for this caller.",
    404: "An unknown user, item or address.",
    405: "Another method.",
    409: "An Idempotency-Key with another event.",
    413: "More than the server takes.",
    422: "Not of the form that is asked for, or not what this model answers.",
    429: "Too often.",
    500: "A fault of the server.",
    503: "Too many requests at once, no sessions, or not ready.",
    504: "No answer in time.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": responses.ProblemAnswer, "description": _TITLES[status]}
    for status in sorted(set(STATUS.values()))
}


class Json(Response):
    """Plain values as JSON, as they are: the description of an answer does not filter it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Bytes of UTF-8. Raises UserError for a number that is none."""
        try:
            return json.dumps(
                content, ensure_ascii=False, allow_nan=False, separators=(",", ":")
            ).encode()
        except ValueError:
            raise UserError(
                "The answer has a number that is none: those of the request are too large."
            ) from None


def make_app(service: Service, keys: Keys) -> Guard:
    """The whole server as an ASGI app; ``service`` is closed when the app is shut down."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with tools.running() if tools else nullcontext():
            yield
        await service.close()

    app = FastAPI(
        title="lightning_rec",
        version=__version__,
        summary="A trained recommender: rankings, similar items, search and scores.",
        description=_DESCRIPTION,
        docs_url=None,  # its page is one of elsewhere
        redoc_url=None,
        responses=ERRORS,
        lifespan=lifespan,
    )
    _refusals(app)
    _answers(app, service)
    _state(app, service)
    page = demo.routes(app, service) if service.settings.demo else ()
    tools = Tools(app, service) if service.settings.mcp else None
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    return Guard(Direct(app), service.settings, keys, service.figures, paths, page)


_DESCRIPTION = """\
Ids are texts or numbers, compared by one rule. A request that is not answered gets
`{"error": {"code": …, "message": …}}`; codes are stable, messages are for people. Each answer has
the header `X-Request-ID`, by which the request log names it.
"""


def _refusals(app: FastAPI) -> None:
    """Every error as JSON with a code."""

    def answer(request: Request, refusal: Refusal) -> Response:
        request.scope["told"]["code"] = refusal.code
        headers = {**refusal.headers, "Content-Type": "application/json"}
        return Response(refusal.body(), refusal.status, headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return answer(request, error)

    @app.exception_handler(UserError)
    async def bad(request: Request, error: UserError) -> Response:
        return answer(request, Refusal("refused", str(error)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()
        if found and found[0].get("type") == "json_invalid":
            return answer(request, Refusal("bad_request", "The body is no JSON."))
        if found and found[0]["type"] == "model_attributes_type" and found[0]["loc"] == ("body",):
            sentence = 'The body is no JSON object sent with "Content-Type: application/json".'
            return answer(request, Refusal("bad_request", sentence))
        told = [f"{'.'.join(map(str, e['loc'][1:])) or 'body'}: {e['msg']}" for e in found[:3]]
        rest = f" And {len(found) - 3} more." if len(found) > 3 else ""
        sentence = "; ".join(told)[:1000].encode("utf-8", "replace").decode()
        end = "" if sentence.endswith(("?", ".")) else "."
        return answer(request, Refusal("invalid", f"{sentence}{end}{rest}"))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        """The error itself goes on to the guard, which logs it."""
        return answer(request, Refusal("internal", "This could not be answered."))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        return answer(request, of_status(error.status_code, error.detail))


def _answers(app: FastAPI, service: Service) -> None:
    """What the model is asked."""

    @app.post("/recommend", response_model=responses.Ranking, tags=["ask"])
    async def recommend(asked: schemas.RecommendRequest, request: Request) -> Response:
        """The best items for a history, or for a user by all that is known of him."""
        unit = unit_of(service, asked.user, asked.unit)
        request.scope["told"] |= {"k": wanted(asked), **await history_logged(service, asked, unit)}
        rules = rules_of(asked.rules)
        if is_of_clicks(asked):
            found = await of_candidates(service, asked, rules, model_of(service, unit))
            found = marked(found, unit)
        else:
            whom = asked.history, asked.user
            found = await recommended(service, *whom, asked.k, asked.seen, rules, asked.unit)
        request.scope["told"] |= logged(service, unit, found)
        return Json(found)

    @app.post("/similar", response_model=responses.SimilarAnswer, tags=["ask"])
    async def similar(asked: schemas.SimilarRequest) -> Response:
        """Items that are like each of those named."""
        return Json(await service.similar(asked.items, asked.k))

    @app.post("/search", response_model=responses.Ranking, tags=["ask"])
    async def search(asked: schemas.SearchRequest, request: Request) -> Response:
        """The items of a model of matching for a text, perhaps in the order of a user."""
        unit = unit_of(service, asked.user, asked.unit)
        request.scope["told"] |= {"k": asked.k, **logged(service, unit)}
        rules, model = rules_of(asked.rules), model_of(service, unit)
        whom: dict[str, Any] = {"user": asked.user, "history": asked.history, "seen": asked.seen}
        found = await service.search(asked.query, asked.k, rules, model, **whom)
        request.scope["told"] |= logged(service, unit, found)
        return Json(marked(found, unit))

    @app.post("/predict", response_model=responses.PredictAnswer, tags=["ask"])
    async def predict(asked: schemas.PredictRequest) -> Response:
        """A score for each row: of a model of clicks its probability."""
        return Json(await service.predict(asked.rows, asked.context))

    @app.post("/events", response_model=responses.EventsAnswer, tags=["sessions"])
    async def events(
        asked: schemas.EventsRequest,
        request: Request,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> Response:
        """What a user has just done; sent again with the same Idempotency-Key it counts once."""
        request.scope["told"] |= logged(service, unit_of(service, asked.user))
        done = await service.take(asked.user, asked.items, idempotency_key)
        if service.settings.logs_items and not done["repeated"]:
            request.scope["told"] |= {"items": names_of(asked.items), "value": asked.value}
        return Json(done)


def _state(app: FastAPI, service: Service) -> None:
    """What the server tells of itself."""

    @app.get("/health", response_model=responses.State, tags=["server"])
    async def health() -> Response:
        """Whether the process answers."""
        return Json({"status": "ok"})

    @app.get("/ready", response_model=responses.State, tags=["server"])
    async def ready() -> Response:
        """Whether requests should be sent here."""
        await service.sessions.check()
        return Json({"status": "ready"})

    @app.get("/version", response_model=responses.Version, tags=["server"])
    async def version() -> Response:
        """Which model answers, and since when."""
        return Json(service.described())

    @app.get("/metrics", tags=["server"], response_class=Response)
    async def metrics() -> Response:
        """Figures in the text format of Prometheus."""
        return Response(service.figures.page(), media_type="text/plain; version=0.0.4")

    @app.post("/admin/reload", response_model=responses.Version, tags=["server"])
    async def reload() -> Response:
        """Open what model= leads to now; where it is broken the one before goes on."""
        await service.reload()
        return Json(service.described())
