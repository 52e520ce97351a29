"""What ``lightning-rec serve`` can be told, with the range of each value."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lightning_rec.errors import UserError, suggest
from lightning_rec.rules.given import pairs

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _pairs(said: Any) -> Any:
    """``{a: X, b: Y}`` by name."""
    return pairs("variants= and shares", said) if isinstance(said, str) else said


class Settings(BaseModel):
    """How a model is served; each field is a ``key=value`` of the command.

    Attributes:
        model: a bundle or run folder, or a link to one.  also: a second one, for the page.
        items: of matching: a table with the columns of items that rules may ask of.
        taste: of matching: a model of sequences, in the order of whose users searches are answered.
        weight: of taste, a number from 0 to 1, or the file that ``search --fit`` wrote.
        confidence: of matching: the file of ``answer --fit``, which tells whether an answer fits.
        demo: whether there is a page.  mcp: whether assistants can ask, at ``/mcp``.
        keys: a file of a key a line, ``NAME KEY``; else keys are those of ``LIGHTNING_REC_KEYS``.
        body: bytes of a request.  history: items of one.  k: of an answer.  rows: of ``/predict``.
        rate: requests a second of one caller, None: 100 where others than this machine may ask.
        concurrency: requests that are answered at the same time.  timeout: seconds for one.
        batch: requests that are computed together.  threads: that compute.
        sessions: ``memory``, or the address of a Redis (``redis://…``).
        users: sessions in memory.  session_items: of one.  session_hours: without an event.
        cache: answers that are kept.  cache_seconds: how long.
        log: a file for a line of JSON for each request, rotated.  log_ids: how it names users.
        log_items: whether it names the items of answers and events; None: of an experiment.
        experiment: the name of one on users.  variants: the models of it, by name, in place of
            ``model``.  shares: of users, by the same names; equal ones if nothing is said.
        interleave: whether each user sees both variants in one list.
        watch: look every so many seconds whether ``model`` is another; 0 does not.
        proxy: addresses of proxies whose X-Forwarded-For is believed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    experiment: Annotated[str, Field(max_length=100)] = ""
    variants: Annotated[dict[str, Path], BeforeValidator(_pairs)] = Field(default_factory=dict)
    shares: Annotated[dict[str, float], BeforeValidator(_pairs)] = Field(default_factory=dict)
    interleave: bool = False
    also: Path | None = None
    items: Path | None = None
    taste: Path | None = None
    weight: str | None = None
    confidence: Path | None = None
    demo: bool = False
    mcp: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, lt=2**16)] = 8000
    keys: Path | None = None
    proxy: str = ""
    body: Annotated[int, Field(ge=1024)] = 2**20
    history: _Count = 1000
    k: _Count = 100
    rows: _Count = 1000
    rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    concurrency: _Count = 128
    timeout: _Seconds = 5.0
    batch: _Count = 64
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    sessions: Annotated[str, Field(pattern=r"^(memory|rediss?://\S+|unix://\S+)$")] = "memory"
    users: _Count = 100_000
    session_items: _Count = 200
    session_hours: _Seconds = 24.0
    cache: Annotated[int, Field(ge=0)] = 10_000
    cache_seconds: _Seconds = 60.0
    log: Path | None = None
    log_bytes: Annotated[int, Field(ge=1024)] = 100 * 2**20
    log_files: _Count = 5
    log_ids: Literal["hash", "plain", "none"] = "hash"
    log_items: bool | None = None
    watch: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can ask."""
        return self.host in LOOPBACK

    @property
    def allowed_rate(self) -> float:
        """Requests a second of one caller; 0 for as many as there are."""
        return (0.0 if self.is_local else 100.0) if self.rate is None else self.rate

    @property
    def paths(self) -> dict[str, Path]:
        """The models by the name of their variant, an empty one without an experiment."""
        return self.variants or {"": self.model}

    @property
    def parts(self) -> dict[str, float]:
        """The share of users of each variant."""
        equal = dict.fromkeys(self.variants, 1 / max(1, len(self.variants)))
        return {name: self.shares[name] for name in self.variants} if self.shares else equal

    @property
    def logs_items(self) -> bool:
        """Whether the log names items."""
        return bool(self.variants) if self.log_items is None else self.log_items

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.also is not None and not self.demo:
            raise ValueError("also= is shown by the page: say demo=true as well")
        if (self.taste is None) != (self.weight is None):
            raise ValueError(
                "taste=FOLDER and weight= go together: a file of 'search --fit', or a number from "
                "0 (relevance) to 1 (taste)"
            )
        if self.taste is not None and self.variants:
            raise ValueError("taste= goes with one model: leave out variants=")
        if self.confidence is not None and (self.taste is not None or self.variants):
            raise ValueError("confidence= is of one model's own order: leave taste=, variants= out")
        if bool(self.experiment) != bool(self.variants):
            raise ValueError("an experiment has a name and its models: experiment= and variants=")
        if self.shares and set(self.shares) != set(self.variants):
            raise ValueError("shares= names the variants of variants=, all of them")
        if self.interleave and len(self.variants) != 2:
            raise ValueError("interleave=true puts two variants into one list: name two")
        return self

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """Settings of what was said. Raises UserError for an unknown key or a bad value."""
        if unknown := [key for key in said if key not in cls.model_fields]:
            known = sorted(cls.model_fields)
            raise UserError(
                f"{unknown[0]}= is no key of serve.{suggest(unknown[0], known, limit=40)}"
            )
        said = dict(said)
        if "variants" in said:
            if "model" in said:
                raise UserError("model= and variants= are two ways: say one of them.")
            variants = said["variants"] = _pairs(said["variants"])
            said["model"] = next(iter(variants.values()), None)
        try:
            return cls(**said)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            value = f"{key}={first['input']}: " if key else ""
            raise UserError(f"{value}{reason}.") from None
