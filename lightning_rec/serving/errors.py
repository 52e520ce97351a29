"""What went wrong, as a status, a code and a sentence; never a traceback."""

import json
from typing import Any

STATUS = {
    "bad_request": 400,
    "refused": 400,
    "no_key": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_user": 404,
    "unknown_item": 404,
    "wrong_method": 405,
    "conflict": 409,
    "too_large": 413,
    "invalid": 422,
    "cannot_answer": 422,
    "rate_limited": 429,
    "internal": 500,
    "overloaded": 503,
    "no_sessions": 503,
    "not_ready": 503,
    "timeout": 504,
}
"""The status of each code."""


class Refusal(Exception):
    """A request that is not answered; ``code`` is one of ``STATUS``, ``message`` a sentence."""

    def __init__(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.headers = code, message, headers or {}

    @property
    def status(self) -> int:
        """Of HTTP."""
        return STATUS[self.code]

    def body(self) -> bytes:
        """JSON, ``{"error": {"code": …, "message": …}}``."""
        return json.dumps({"error": {"code": self.code, "message": self.message}}).encode()


def of_status(status: int, detail: Any) -> Refusal:
    """What the framework refused itself."""
    codes = {404: "not_found", 405: "wrong_method", 413: "too_large", 415: "bad_request"}
    told = {
        "bad_request": "The body is no JSON, or is not sent as application/json.",
        "not_found": "There is no such address: see /openapi.json.",
        "wrong_method": "This address takes another method: see /openapi.json.",
    }
    code = codes.get(status, "bad_request" if status < 500 else "internal")
    sentence = "This could not be answered." if code == "internal" else str(detail)
    return Refusal(code, told.get(code, sentence))
