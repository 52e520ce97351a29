"""What requests look like; the description of OpenAPI is made of it."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lightning_rec.errors import nearest

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

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Say which key may be meant by one that is none; of others ``extra`` tells."""
        known = [each.alias or name for name, each in cls.model_fields.items()]
        for key in given if isinstance(given, dict) else ():
            if key not in known and (told := nearest(str(key)[:100], known)):
                raise PydanticCustomError("unknown", "'{key}' is no key here.{told}",
                                          {"key": str(key)[:100], "told": told})  # fmt: skip
        return given


Ids = Annotated[list[Id], Field(max_length=10_000)]
Said = Annotated[StrictStr, Field(max_length=512)] | StrictInt | StrictFloat | bool | None
Time = Annotated[
    Annotated[StrictStr, Field(max_length=64)]
    | Annotated[StrictInt, Field(gt=-(2**60), lt=2**60)]
    | Annotated[StrictFloat, Field(allow_inf_nan=False, gt=-1e18, lt=1e18)],
    Field(description="A date, 2026-11-28 18:00, or seconds since 1970."),
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Condition = Annotated[StrictStr, Field(min_length=1, max_length=2000)]


class HistoryItem(BaseModel):
    """An item, and what a model may read of its event: when it was, and columns of the log."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"item": "2571", "time": "2026-11-28 18:00", "rating": 5}]},
    )
    __pydantic_extra__: dict[str, Said] = Field(init=False)
    item: Id
    time: Time | None = None


def _form(given: Any) -> str:
    return "event" if isinstance(given, dict | HistoryItem) else "id"


Item = Annotated[
    Annotated[Id, Tag("id")] | Annotated[HistoryItem, Tag("event")], Discriminator(_form)
]


class Boost(_Request):
    """A boost or campaign: of an item, or of those for which a condition is true."""

    item: Id | None = None
    where: Condition | None = None
    factor: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="Multiplies scores above 0 and divides those below: over 1 moves up."
    )
    add: Number | None = None
    from_: Time | None = Field(None, alias="from", description="The first moment that it holds.")
    to: Time | None = Field(None, description="The first moment after it.")


class AskedRules(_Request):
    """What may be recommended, and in which order; applied before the best are taken."""

    allow: Ids | None = Field(None, description="The only items that may be recommended.")
    deny: Ids | None = Field(None, description="Items that may not.")
    where: Condition | None = Field(
        None, description="A condition on the columns of the catalogue, as `price < 20`."
    )
    boosts: Annotated[list[Boost], Field(max_length=20)] | None = None
    at: Time | None = Field(None, description="When: decides which boosts hold; now if not said.")
    per: dict[str, Annotated[int, Field(ge=1, strict=True)]] | None = Field(
        None, max_length=8, description="At most so many items of a value of a column."
    )
    diversity: Annotated[StrictStr, Field(max_length=200)] | None = Field(
        None, description="`mmr:0.3` or `dpp:0.3`; `mmr:0.3@COLUMN` by a column."
    )
    calibration: Annotated[StrictStr, Field(max_length=200)] | None = Field(
        None, description="`0.5@COLUMN`: shares of its values as in the history."
    )
    explore: Annotated[StrictStr, Field(max_length=100)] | None = Field(
        None, description="`epsilon:0.1`, `softmax:1` or `thompson:0.5`: adds propensities."
    )
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    pool: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None


Row = dict[str, Cell | list[Cell]]
_UNIT = "Who it is for, where no user is said: decides the variant of an experiment."


class RecommendRequest(_Request):
    """Whom it is for: a history, or a user that the model or a session knows; of a model of clicks
    a row, and the candidates that are ranked for it.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"history": ["2571", "260", 1196], "k": 5}, {"user": "42", "k": 10}]
        },
    )
    history: list[Item] | None = Field(
        None, description="Ids of items, oldest first; or objects, with what else is known."
    )
    user: Id | None = None
    k: K = 10
    seen: Literal["filter", "keep"] | None = Field(
        None, description="Whether items of the history are left out; else as the model was tested."
    )
    rules: AskedRules | None = None
    row: Row | None = Field(
        None, description="Of models of clicks: the columns that the candidates have not."
    )
    candidates: list[Row] | None = Field(
        None, description="Of models of clicks: items, by the column that the model knows them by."
    )
    context: Row | None = Field(None, description="Of models of clicks: as of /predict.")
    goal: Annotated[StrictStr, Field(max_length=200)] | None = Field(
        None, description="Of models of clicks with several goals: the one that orders."
    )
    unit: Id | None = Field(None, description=_UNIT)


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
    user: Id | None = Field(None, description="In whose order, where the server knows a taste.")
    history: list[Item] | None = Field(None, description="In place of the user: what he had.")
    seen: Literal["filter", "keep"] | None = Field(None, description="Items of the history.")
    rules: AskedRules | None = None
    unit: Id | None = Field(None, description=_UNIT)


class PredictRequest(_Request):
    """Rows with the columns that the model reads."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"rows": [{"uid": "u4", "sku": "i03", "price": 9.5}]}]},
    )
    rows: Annotated[list[Row], Field(min_length=1)]
    context: Row | None = Field(
        None,
        max_length=100,
        description="Of models of clicks: columns of one value for all rows, as the hour.",
    )


class EventsRequest(_Request):
    """What a user has just done, oldest first."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"user": "42", "items": ["2571"]}]}
    )
    user: Id
    items: Annotated[list[Item], Field(min_length=1, max_length=1000)]
    value: Number | None = Field(None, description="What it was worth, for the request log.")
