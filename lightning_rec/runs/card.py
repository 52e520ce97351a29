"""Schemas of the card of a run and of a checkpoint, which may come from somebody else."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasPath, BaseModel, Field, ValidationError

from lightning_rec.errors import UserError, listed


class _Read(BaseModel, extra="allow", strict=True):
    pass


class Card(_Read):
    """The facts of ``run.json`` that are read again."""

    status: Literal["", "running", "interrupted", "failed", "completed"] = ""
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
    gpu_seconds: float | None = None
    earlier: list[dict[str, Any]] = []
    trackers: dict[str, Any] | None = None


_EPOCHS = ("loops", "fit_loop", "epoch_progress", "current")


class Checkpoint(_Read):
    """What is read of a checkpoint: whole epochs (processed), begun ones, limits when stopped."""

    state_dict: dict[str, Any]
    global_step: int
    processed: Annotated[int, Field(validation_alias=AliasPath(*_EPOCHS, "processed"))]
    ready: Annotated[int, Field(validation_alias=AliasPath(*_EPOCHS, "ready"))]
    stopped: Annotated[
        list[int | None] | None, Field(validation_alias=AliasPath("resume", "stopped"))
    ] = None


Kind = TypeVar("Kind", Card, Checkpoint)


def check(path: Path, found: Any, kind: type[Kind]) -> Kind:
    """What was read from ``path``, by its schema. Raises UserError naming the first wrong key."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} is not as a run writes it: {key}: {first['msg'].lower()}. Bring the file back."
        ) from None


_OTHERS = {
    "bundle.json": "a bundle, which answers and is not changed: this asks for the run folder that "
    "it was exported from",
    "shrink.json": "a shrunk model, which is run as its README says, or put into the run that it "
    "is of: lightning_rec.shrink.folder.put_into(load_run(RUN), FOLDER)",
}


def no_run(path: Path, missing: list[str]) -> UserError:
    """The error for a folder that lacks files of a run."""
    for name, what in _OTHERS.items():
        if (path / name).is_file():
            return UserError(f"{path} is not a run folder, but {what}.")
    made = ("config.yaml", "bundle.json")
    below = sorted(str(at) for at in path.glob("*") if any((at / name).is_file() for name in made))
    there = f" There are {listed(below)}." if below else ""
    return UserError(
        f"{path} is not a run folder: {' and '.join(missing)} missing. A run folder is what "
        "'lightning-rec train' names at its end, a bundle what 'lightning-rec export' writes."
        f"{there}"
    )
