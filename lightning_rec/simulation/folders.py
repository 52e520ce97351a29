"""A world as a folder, written whole or not at all.

``world.json`` (settings, and how many days the log has), ``log.parquet`` and ``items.parquet``
(what a shop knows), ``truth/users.parquet`` and ``truth/items.parquet`` (tastes on the day after
the log, what items are). After a play there are ``outcomes.parquet`` and ``requests.parquet``, the
same below ``truth/`` with what only a simulator knows, see :class:`Played`, and ``truth.json``, see
:func:`summary`.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, write_json
from lightning_rec.rules.given import table
from lightning_rec.simulation.playing import Played, summary
from lightning_rec.simulation.settings import Settings
from lightning_rec.simulation.world import World, names

MOST_DAYS = 100_000  # plays add to those of settings
LOG = ("user", "item", "time", "kind")
OUTCOMES = ("request", "day", "user", "rank", "item")


class Kept(NamedTuple):
    """A world, the log of its first ``days`` days, and outcomes, if it is after a play."""

    world: World
    days: int
    log: pl.DataFrame
    outcomes: pl.DataFrame | None


def read(folder: Path) -> Kept:
    """Read a world, or what a play left. Raises UserError for a folder of something else."""
    if not (folder / "world.json").is_file():
        raise UserError(f"{folder} has no world.json: make one by 'simulate world to=FOLDER'.")
    told: Any = read_json(folder / "world.json")
    sound = isinstance(told, dict) and isinstance(told.get("settings"), dict)
    days = told.get("days") if sound else None
    if not isinstance(days, int) or not 0 < days <= MOST_DAYS:
        raise UserError(f"{folder / 'world.json'} is not as 'simulate world' wrote it.")
    world = World(Settings.of(told["settings"]))
    log, outcomes = folder / "log.parquet", folder / "outcomes.parquet"
    return Kept(
        world, days, _table(log, LOG), _table(outcomes, OUTCOMES) if outcomes.exists() else None
    )


def _table(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    found = table(path, *columns)
    ids = [found[name].cast(pl.String) for name in ("user", "item")]
    if found.select(columns).null_count().sum_horizontal().sum() or not all(
        each.str.contains(rf"^{letter}\d{{1,9}}$").all()
        for each, letter in zip(ids, "ui", strict=True)
    ):
        raise UserError(f"{path} is not as 'simulate' wrote it: its users are u0, u1, …, its items "
                        "i0, i1, …, and nothing is left out.")  # fmt: skip
    return found


def free(folder: Path) -> None:
    """Raise UserError where there is something already."""
    if folder.exists():
        raise UserError(f"{folder} exists: choose another name.")


def write(folder: Path, world: World, days: int, log: pl.DataFrame, played: Played | None = None,
          told: dict[str, Any] | None = None) -> None:  # fmt: skip
    """Write a world after ``days`` days; ``told``: of the play, into ``truth.json``."""
    category, vectors, attraction = world.catalogue(days)
    item = names("i", np.arange(len(category)))
    kind = names("c", category)
    users = names("u", np.arange(world.users(days)))
    with atomic_folder(folder) as temporary:
        truth = temporary / "truth"
        truth.mkdir()
        about = {"settings": world.settings.model_dump(), "days": days}
        write_json(temporary / "world.json", about)
        log.write_parquet(temporary / "log.parquet")
        catalogue = pl.DataFrame({"item": item, "title": "Item " + item, "category": kind})
        catalogue.write_parquet(temporary / "items.parquet")
        tastes = {"user": users, "taste": world.tastes(days), "activity": world.activity(days)}
        pl.DataFrame(tastes).write_parquet(truth / "users.parquet")
        items = {"item": item, "vector": vectors, "attraction": attraction}
        pl.DataFrame(items).write_parquet(truth / "items.parquet")
        if played is not None:
            played.outcomes.write_parquet(temporary / "outcomes.parquet")
            played.requests.drop("expected").write_parquet(temporary / "requests.parquet")
            played.truth.write_parquet(truth / "outcomes.parquet")
            played.requests.write_parquet(truth / "requests.parquet")
            found = (told or {}) | {"variants": summary(played.requests)}
            write_json(temporary / "truth.json", found)
