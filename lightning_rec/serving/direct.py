"""Well-formed requests go straight to what answers them: the framework's layers cost more than it.

Whatever is not well-formed goes the whole way, so that errors are told in one place.
"""

from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive, Scope, Send

from lightning_rec.errors import UserError
from lightning_rec.serving.errors import Refusal

Endpoint = Callable[..., Awaitable[Response]]


class Direct:
    """An ASGI app before that of FastAPI, with the same endpoints.

    It takes those that read nothing but a body of JSON: a model of pydantic ``asked``, and perhaps
    the ``request``.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.endpoints: dict[str, tuple[type[BaseModel], Endpoint, bool]] = {}
        for route in app.routes:
            if isinstance(route, APIRoute) and route.methods == {"POST"}:
                hints = get_type_hints(route.endpoint)
                hints.pop("return", None)
                asked, request = hints.pop("asked", None), hints.pop("request", None)
                if asked is not None and not hints:
                    self.endpoints[route.path] = asked, route.endpoint, request is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Raises Refusal."""
        found = self.endpoints.get(scope.get("path", "")) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST" or not _is_json(scope):
            await self.app(scope, receive, send)
            return
        kind, endpoint, with_request = found
        message = await receive()
        body = b"" if message.get("more_body") else message.get("body", b"")
        try:
            asked = kind.model_validate_json(body)
        except ValidationError:
            await self.app(scope, again(message, receive), send)
            return
        given: dict[str, Any] = {"request": Request(scope)} if with_request else {}
        try:
            response = await endpoint(asked, **given)
        except UserError as error:
            raise Refusal("refused", str(error)) from None
        await response(scope, receive, send)


def _is_json(scope: Scope) -> bool:
    return any(
        name == b"content-type" and value.split(b";")[0].strip().lower() == b"application/json"
        for name, value in scope["headers"]
    )


def again(message: Message, receive: Receive) -> Receive:
    """Gives a message that was received; then whatever comes."""
    waiting = [message]

    async def given() -> Message:
        return waiting.pop() if waiting else await receive()

    return given
