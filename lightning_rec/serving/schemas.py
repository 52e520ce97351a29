"""What requests and answers look like; the description of OpenAPI is made of it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

Id = Annotated[
    Annotated[StrictStr, Field(max_length=512)]
    | StrictInt
    | Annotated[StrictFloat, Field(allow_inf_nan=False)],
    Field(description="A text or a number; 12, 12.0 and '12' are one id, '007' is not 7."),
]
Cell = StrictStr | StrictInt | StrictFloat | bool | None
K = Annotated[int, Field(ge=1, strict=True, description="How many items; limited by the server.")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecommendRequest(_Request):
    """Whom it is for: a history, or a user that the model or a session knows."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"history": ["2571", "260", 1196], "k": 5}, {"user": "42", "k": 10}]
        },
    )
    history: list[Id] | None = Field(None, description="Ids of items, oldest first.")
    user: Id | None = None
    k: K = 10
    seen: Literal["filter", "keep"] | None = Field(
        None, description="Whether items of the history are left out; else as the model was tested."
    )


class SimilarRequest(_Request):
    """Items whose like are asked for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"items": ["2571"], "k": 5}]}
    )
    items: Annotated[list[Id], Field(min_length=1, max_length=100)]
    k: K = 10


class SearchRequest(_Request):
    """A text that items are found by."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "angle bracket", "k": 5}]}
    )
    query: Annotated[StrictStr, Field(min_length=1, max_length=2000)]
    k: K = 10


class PredictRequest(_Request):
    """Rows with the columns that the model reads."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"rows": [{"uid": "u4", "sku": "i03", "price": 9.5}]}]},
    )
    rows: Annotated[list[dict[str, Cell | list[Cell]]], Field(min_length=1)]


class EventsRequest(_Request):
    """What a user has just done, oldest first."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"user": "42", "items": ["2571"]}]}
    )
    user: Id
    items: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class Ranked(BaseModel):
    """An item of an answer."""

    rank: int
    item: str
    title: str | None = None
    score: float


class Ranking(BaseModel):
    """The best items, best first; fewer than ``k`` where there are no more."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [{"rank": 1, "item": "1210", "title": "Star Wars VI", "score": 6.1}],
                    "unknown_items": 0,
                    "model": "3f1c22aa90d1",
                }
            ]
        }
    )
    items: list[Ranked]
    unknown_items: int = Field(0, description="Items of the history that the model does not know.")
    model: str = Field(description="The version of the model.")


class Alike(BaseModel):
    """An item that is like another."""

    item: str
    rank: int
    similar: str
    title: str | None = None
    score: float


class SimilarAnswer(BaseModel):
    """Items that are like each of those asked for; the score is the cosine of vectors."""

    items: list[Alike]
    model: str


class PredictAnswer(BaseModel):
    """For each row its scores, by name."""

    scores: list[dict[str, float | None]]
    model: str


class EventsAnswer(BaseModel):
    """What is known of the session now."""

    events: int
    repeated: bool = Field(description="Whether an event of this Idempotency-Key came before.")


class State(BaseModel):
    """Whether the server works."""

    status: str


class Version(BaseModel):
    """What answers."""

    package: str
    model: str
    name: str
    kind: str
    items: int | None
    version: str
    loaded: str
    reload_error: str | None = Field(description="Why the latest reload was refused.")


class Problem(BaseModel):
    """What went wrong."""

    code: str
    message: str


class ProblemAnswer(BaseModel):
    """The answer to every request that is not answered otherwise."""

    error: Problem


Told = dict[str, Any]
