"""``lightning-rec ids vectors=FILE to=FOLDER``: a versioned table of semantic ids."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.asked import flag, nothing_else
from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.commands.usage import config_folders
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

HELP = """\
Semantic ids: each item as a few codes that alike items share, learnt from
vectors, as a folder that never changes. item=semantic_ids reads it.

usage: lightning-rec ids vectors=FILE to=FOLDER [KEY=VALUE ...]
       lightning-rec ids data=NAME item=text|vectors|ids [OVERRIDES] to=FOLDER [...]
       lightning-rec ids from=FOLDER vectors=FILE|data=NAME ... to=FOLDER

vectors= is a file as 'vectors of=items' writes it, such as those of a finished
run. With data=, vectors are what item= says of the items (item=ids: who had
them in training), and codes are learnt of the training items alone.

  quantizer=   residual (k-means of what is left, level by level) | opq
               (optimised product quantisation) | rqvae (TIGER's
               autoencoder)                                      [residual]
  levels=      codes of an item                                         [3]
  codes=       codes of a level                                       [256]
  unique=      a last digit tells items of the same codes apart      [true]
  seed=                                                                 [1]

from= takes the settings and codes of another table, whose items keep their ids;
new ones are added, as the next version. Shown are how evenly codes are used and
which items have the same, also as a picture, ids.png.

Examples:
  lightning-rec ids data=beauty item=text 'item.template="{title}"' to=beauty_ids
  lightning-rec ids vectors=items.parquet levels=4 to=my_ids
  lightning-rec ids from=my_ids vectors=more.parquet to=my_ids_2
  lightning-rec train model=sasrec item=semantic_ids item.path=my_ids
"""
OWN = ("quantizer", "levels", "codes", "unique", "seed")


def run(arguments: list[str]) -> int:
    """Make the table, show and draw how good it is. Raises UserError on bad input."""
    said, others = take_keys(arguments, "vectors", "from", "to", *OWN)
    if "to" not in said:
        raise UserError("Say where to: to=FOLDER.")
    if "vectors" in said:
        nothing_else(others, "ids vectors=FILE")
    elif not any(each.startswith(("data=", "experiment=")) for each in others):
        raise UserError("Say of which vectors: vectors=FILE, or data=NAME item=text.")
    if "from" in said and (twice := [key for key in OWN if key in said]):
        raise UserError(f"{twice[0]}= is what from={said['from']} says: drop it.")
    folder = Path(said["to"])
    if folder.exists():
        raise UserError(f"to={folder} is there already: ids that are there never change.")
    with loading():
        from lightning_rec.data.semantic import table
    before = table.read(Path(said["from"])) if "from" in said else None
    own = table.Settings() if before else table.Settings(**_settings(said))
    items, vectors, trained = _of_file(said) if "vectors" in said else _of_data(others)
    if before is not None:
        ids = table.appended(before, items, vectors)
    else:
        ids = table.made(items, vectors, own, trained)
    _tell(ids, folder, said.get("from"))
    return 0


def _settings(said: dict[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if "quantizer" in said:
        if said["quantizer"] not in ("residual", "opq", "rqvae"):
            raise UserError(f"quantizer={said['quantizer']}: it is residual, opq or rqvae.")
        given["quantizer"] = said["quantizer"]
    for key, least, most in (("levels", 1, 256), ("codes", 2, 2**16), ("seed", 0, 2**31)):
        if key in said:
            given[key] = number(key, said[key], int)
            if not least <= given[key] <= most:
                raise UserError(f"{key}={said[key]}: it is {least} to {most:,}.")
    if "unique" in said:
        given["unique"] = flag(said, "unique")
    return given


def _of_file(said: dict[str, str]) -> "tuple[pl.Series, Tensor, None]":
    """Ids and vectors of a file."""
    import numpy as np
    import torch

    from lightning_rec.data.given_vectors import read_vector_file

    found = read_vector_file(Path(said["vectors"]), None, "item", "vector")
    vectors = torch.from_numpy(np.array(found.vectors, dtype=np.float32))
    if not vectors.isfinite().all():
        raise UserError(f"vectors={said['vectors']} holds values that are no finite numbers.")
    return found.ids, vectors, None


def _of_data(arguments: list[str]) -> "tuple[pl.Series, Tensor, int]":
    """Ids and vectors of a data set, and how many of the items, the first ones, are trained on."""
    from lightning_rec.build import problem_of
    from lightning_rec.config import compose
    from lightning_rec.data.fetch import cache_dir
    from lightning_rec.problems.sequences import Sequences

    folders, overrides = config_folders(arguments)
    problem = problem_of(compose(["model=sasrec", *overrides], folders))
    if not isinstance(problem, Sequences):
        raise UserError("ids are of items of sequences: say data= of a log.")
    loaded = problem.load(cache_dir())
    items, vectors = problem.item_vectors(loaded)
    return items, vectors, loaded.data.split.num_trained


def _tell(ids: Any, folder: Path, before: str | None) -> None:
    from importlib.util import find_spec

    from lightning_rec.commands.shown import show
    from lightning_rec.data.semantic import measured, table

    levels, same = measured.by_level(ids), measured.collisions(ids)
    told = {"levels": levels.to_dicts(), "collisions": same, "from": before}
    table.write(ids, folder, told)
    show(levels, title=f"{len(ids.items):,} items, version {ids.version}")
    screen = Screen()
    screen.print(
        f"{same['different']:,} different codes; {same['colliding']:,} items "
        f"({same['share']:.1%}) have those of others, {same['largest']:,} at most the same.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if find_spec("matplotlib"):
        from lightning_rec.reports.semantic_ids import draw

        draw(ids, folder / "ids.png")
    screen.print(f"Written: {folder}", highlight=False, soft_wrap=True)
