"""What answers look like; the description of OpenAPI is made of it."""

from pydantic import BaseModel, ConfigDict, Field


class Ranked(BaseModel):
    """An item of an answer."""

    rank: int
    item: str
    title: str | None = None
    score: float
    relevance: float | None = Field(None, description="Of a search in the order of a user.")
    taste: float | None = Field(None, description="Of a search in the order of a user.")
    propensity: float | None = Field(None, description="Where rules explore: its probability.")
    team: str | None = Field(None, description="Where two models are interleaved: whose it is.")


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
    note: str | None = Field(
        None,
        description="What the rules did not do; why it is by relevance alone; that no item of the "
        "history is known; what the model reads of events and was not told.",
    )
    variant: str | None = Field(None, description="Of an experiment, if this unit is in it.")
    confidence: float | None = Field(
        None, description="Of a search, with confidence=: how probable it is that the first fits."
    )
    fits: bool | None = Field(None, description="Whether that is enough; else nothing fits.")


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
    unknown_items: int = Field(0, description="Of these items, those the model does not know.")


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
    taste: str | None = Field(description="The version of the model of taste, of searches.")
    loaded: str
    experiment: str | None = Field(None, description="The name of one on users.")
    variants: dict[str, str] | None = Field(None, description="The version of each variant.")
    reload_error: str | None = Field(description="Why the latest reload was refused.")


class Problem(BaseModel):
    """What went wrong."""

    code: str
    message: str


class ProblemAnswer(BaseModel):
    """The answer to every request that is not answered otherwise."""

    error: Problem
