"""What the card of a run and a checkpoint hold: both may come from somebody else."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lightning_rec.errors import UserError


class _Read(BaseModel, extra="allow", strict=True):
    pass


class Card(_Read):
    """The facts of ``run.json`` that are read again."""

    status: str = ""
    overrides: list[str] = []
    protocol: dict[str, Any] = {}
    data_hash: str = ""
    catalogue_hash: str | None = None
    language_hash: str | None = None
    seconds: dict[str, float] = {}
    split: dict[str, Any] = {}
    audit: dict[str, Any] = {}
    cost: dict[str, Any] = {}
    cpu_seconds: float | None = None
    earlier: list[dict[str, Any]] = []
    trackers: dict[str, Any] | None = None


class _Progress(_Read):
    processed: int
    ready: int


class _Epochs(_Read):
    current: _Progress


class _Fit(_Read):
    epoch_progress: _Epochs


class _Loops(_Read):
    fit_loop: _Fit


class _Resume(_Read):
    stopped: list[int | None] | None = None


class Checkpoint(_Read):
    """What is read of a checkpoint before Lightning takes it up."""

    state_dict: dict[str, Any]
    global_step: int
    loops: _Loops
    resume: _Resume = _Resume()


def check(path: Path, found: Any, kind: type[Card] | type[Checkpoint]) -> None:
    """See that what was read from ``path`` is of its kind; more may be there.

    Raises UserError naming the first key that is not as it should be.
    """
    try:
        kind.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} is not as a run writes it: {key}: {first['msg'].lower()}. Bring the file back."
        ) from None
