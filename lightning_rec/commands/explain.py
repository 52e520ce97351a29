"""``lightning-rec explain model=FOLDER user=ID``: paths from what a user had to what is for him."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.asked import flag, ids, keys_of, nothing_else
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError

if TYPE_CHECKING:
    from lightning_rec.answers.given_graphs import Graph

HELP = """\
Why an item may be for a user: paths in a knowledge graph from what he had to it.

usage: lightning-rec explain model=FOLDER user=ID|[ID,...] [graph=GRAPH] [k=10]
                             [item=ID|[ID,...]] [paths=3] [hops=2] [names=FILE]
                             [by=attention|rarity] [seen=filter|keep]
                             [--output FILE] [overwrite=true]
       lightning-rec explain model=FOLDER history=[ID,...] [graph=GRAPH] ...

Paths lead to the k best items, or to item=; each has at most hops= steps (3 at
most), and the paths= heaviest of an item are shown. by=attention, of kgat alone and
there the default: a path weighs the product of how much its triples count, as the
model has learnt. by=rarity: the product of 1 / d over the entities between, which
have d neighbours: rare ones tell more. Paths are what the graph knows of both items,
and need not be what the model went by.

GRAPH is what data.graph says: {triples: FILE, links: FILE}, a file of triples, or
recbole. Left out, a run that was trained with data.graph=recbole takes that.
names=FILE has entity and name, for entities that are no items.

Examples:
  lightning-rec explain model=runs/kgat user=42 k=5
  lightning-rec explain model=runs/sasrec 'history=[50,172]' item=181 graph=recbole
"""
KEYS = (
    *("model", "user", "history", "item", "graph", "k", "paths", "hops", "by", "names", "seen"),
    "overwrite",
)


def run(arguments: list[str]) -> int:
    """Print a table for each user, or write the file. Raises UserError on bad input."""
    said, others = keys_of(arguments, "explain", KEYS, ("--output",))
    nothing_else(others, "explain")
    if ("user" in said) == ("history" in said):
        raise UserError("Say whom it is for: one of user=ID and history=[ID,...].")
    if odd := [name for name in ("k", "seen") if name in said and "item" in said]:
        raise UserError(f"{odd[0]}= is of what is recommended: leave it out beside item=.")
    whole: dict[str, Any] = {
        name: number(name, said[name], int) for name in ("k", "paths", "hops") if name in said
    }
    from lightning_rec.answers.explaining import explain
    from lightning_rec.answers.files import check_output, write_table
    from lightning_rec.commands.opening import opened, sequences
    from lightning_rec.rules.given import table

    output = Path(said["--output"]) if "--output" in said else None
    if output is not None:
        check_output(output, overwrite=flag(said, "overwrite"))
    model = sequences(opened(said, "explain"), "explain")
    graph = _graph(said)
    if "history" in said:
        whole["histories"] = [ids("history", said["history"])]
    else:
        whole["users"] = ids("user", said["user"])
    if "item" in said:
        whole["items"] = ids("item", said["item"])
    if "names" in said:
        whole["names"] = table(Path(said["names"]), "entity", "name")
    found = explain(model, graph, by=said.get("by"), seen=said.get("seen"), **whole)
    if output is not None:
        write_table(found.lazy(), output)
        return 0
    import polars as pl

    from lightning_rec.commands.shown import show

    none = f"(no path of {whole.get('hops', 2)} steps or fewer)"
    shown = found.drop("path", "had", "through", "relations", "title", strict=False)
    shown = shown.with_columns(pl.col("why").fill_null(none))
    key = shown.columns[0]
    show(shown if key == "user" else shown.drop(key), "user" if key == "user" else None)
    return 0


def _graph(said: dict[str, str]) -> "Graph":
    """What ``graph=`` says, else the config of the run, if that names no file.

    Raises UserError where neither does: files that a config alone names are not read, since
    anybody may have written it.
    """
    from lightning_rec.answers.given_graphs import HOW, from_text

    if "graph" in said:
        return from_text(said["graph"])
    path = Path(said["model"])
    named = None
    if (path / "config.yaml").is_file():
        from omegaconf import OmegaConf

        from lightning_rec.runs.folder import RunFolder

        named = OmegaConf.select(RunFolder.open(path).config, "data.graph")
    if named == "recbole":
        return "recbole"
    if named is None:
        raise UserError(f"{path} does not name a knowledge graph: say {HOW}.")
    files = ", ".join(f"{key}: {named[key]}" for key in ("triples", "links") if named.get(key))
    raise UserError(
        f"{path / 'config.yaml'} names files of a knowledge graph, and files that a config alone "
        f"names are not read: if these are meant, say graph='{{{files}}}', and what else "
        "data.graph said of them."
    )
