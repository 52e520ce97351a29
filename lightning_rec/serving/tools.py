"""What a server answers as tools of the Model Context Protocol, so that an assistant can ask it.

A call is one request of HTTP to ``/mcp``: it passes the same :class:`Guard`, and the tools ask the
same :class:`Service`, as every other request.
"""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field

from lightning_rec import __version__
from lightning_rec.errors import UserError, import_extra
from lightning_rec.serving import schemas
from lightning_rec.serving.demo import found
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.service import Service, Told
from lightning_rec.serving.variants import recommended

Tool = Callable[..., Coroutine[Any, Any, Told]]
_History = Annotated[list[schemas.Id], Field(description="Ids of items, oldest first.")]
_Items = Annotated[list[schemas.Id], Field(min_length=1, max_length=100)]
_Rows = Annotated[list[dict[str, schemas.Cell | list[schemas.Cell]]], Field(min_length=1)]


class Tools:
    """The tools of a service at ``/mcp`` of an app; see :meth:`running`. Raises UserError."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        kept = import_extra("mcp.server.mcpserver", "mcp=true", "mcp")
        security = import_extra("mcp.server.transport_security", "mcp=true", "mcp")
        handlers = [*logging.root.handlers]
        self.server = kept.MCPServer(
            "lightning_rec",
            version=__version__,
            instructions=f"A trained recommender ({service.model.predictor.name}): "
            "ask it for rankings; ids are those of its catalogue.",
        )
        logging.root.handlers[:] = handlers  # how this process logs is not that library's to say
        logging.getLogger("mcp").setLevel(logging.WARNING)
        for tool in _tools(service):
            told = _told(tool, kept.exceptions.ToolError)
            self.server.add_tool(told, tool.__name__, description=tool.__doc__)
        made = self.server.streamable_http_app(
            json_response=True,
            stateless_http=True,
            max_request_body_size=service.settings.body,
            # Hosts are looked at by the guard.
            transport_security=security.TransportSecuritySettings(
                enable_dns_rebinding_protection=False
            ),
        )
        app.router.routes.extend(made.routes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the app runs."""
        async with self.server.session_manager.run():
            yield


def _tools(service: Service) -> list[Tool]:
    """What a model of this kind answers."""

    async def find_items(text: Annotated[str, Field(min_length=1, max_length=100)]) -> Told:
        """Items of the catalogue whose title or id has all the words, with their ids."""
        return {"items": found(service.model, text)}

    async def recommend(
        history: _History | None = None, user: schemas.Id | None = None, k: schemas.K = 10
    ) -> Told:
        """The k items that come next for a history, or for a user that the model knows."""
        return await recommended(service, history, user, k, None)

    async def similar_items(items: _Items, k: schemas.K = 10) -> Told:
        """The k items most like each of those named, by the model's vectors."""
        return await service.similar(items, k)

    async def search(
        query: Annotated[str, Field(min_length=1, max_length=2000)],
        k: schemas.K = 10,
        user: schemas.Id | None = None,
    ) -> Told:
        """The k items of the catalogue that fit a text best, perhaps in the order of a user."""
        return await service.search(query, k, user=user)

    async def predict(rows: _Rows) -> Told:
        """How likely a click is for each row of the columns that the model reads."""
        return await service.predict(rows)

    of: dict[str, list[Tool]] = {
        "sequences": [find_items, recommend, similar_items],
        "matching": [find_items, search, similar_items],
        "clicks": [predict],
    }
    return of[service.model.kind]


def _told(tool: Tool, error: type[Exception]) -> Tool:
    """A tool whose refusals an assistant can read."""

    @wraps(tool)
    async def answered(**said: Any) -> Told:
        try:
            return await tool(**said)
        except Refusal as refusal:
            raise error(f"{refusal.code}: {refusal.message}") from None
        except UserError as refused:
            raise error(f"refused: {refused}") from None

    return answered
