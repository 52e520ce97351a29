"""Build the tables of README.md and ``experiments/*/README.md`` from the committed JSON.

``experiments/FOLDER/tables.yaml`` declares tables: labels, columns and rows. A table is written
between ``<!-- name:start -->`` and ``<!-- name:end -->``. With ``--check`` nothing is written and
the exit status is 1 if a table is out of date.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import results
import yaml

sys.path.append(str(Path(__file__).parent.parent))  # the clone
from benchmarks.harness.pages import median
from benchmarks.sequences import table as sequences
from lightning_rec.lab import (
    Column,
    Row,
    Table,
    check_comparable,
    cost,
    difference,
    figure,
    lay_out,
    seeds,
)
from lightning_rec.lab.layout import filled
from lightning_rec.lab.papers import Paper, papers
from lightning_rec.lab.reading import HASHES

HERE = results.HERE
FIRST_PAGE = (
    "klenitskiy2023/sasrec_ml1m",
    "klenitskiy2023/bert4rec_ml1m",
    "transformer_benchmark/sasrec_beauty",
    "transformer_benchmark/sasrec_toys",
    "petrov2022/bprmf_ml1m",
    "klenitskiy2023/bert4rec_beauty_bert4rec",
)
FIRST_FIGURE = "test/ndcg@10"
PAPERS = [Paper.load(folder) for folder in papers(HERE)]
Declared = dict[str, Any]
COLUMNS: dict[str, Callable[..., Column]] = {
    "seeds": seeds,
    "figure": lambda name, heading="", absent="": figure(name, heading, absent=absent),
    "reference": lambda name, heading: figure(name, heading, reference=True),
    "difference": difference,
    "reverse": lambda name, heading: difference(name, heading, reverse=True),
    "median": lambda name, heading, form=".0f", per=1: cost(name, heading, form, per=per),
    "mean": lambda name, heading: cost(name, heading, of=statistics.fmean),
    "first": lambda name, heading, form=",", per=1, absent="": cost(
        name, heading, form, per=per, of=lambda values: values[0], absent=absent
    ),
    "commits": lambda heading: Column(
        heading, lambda row: ", ".join(f"`{commit[:10]}`" for commit in row.runs["commit"])
    ),
}


def declared(folder: str, name: str) -> Table:
    """A table of ``experiments/FOLDER/tables.yaml``."""
    table = declarations(folder)[name]
    columns = [COLUMNS[kind](*words) for kind, *words in table["columns"]]
    made = list(rows(HERE / folder, table))
    known = [runs for row in made for runs in (row.runs, row.reference) if "seed" in runs.columns]
    if every := [runs for runs in known if runs.height and "protocol_hash" in runs.columns]:
        joined = pl.concat(every, how="diagonal_relaxed")
        check_comparable(joined, f"the rows of {folder}/{name}", table.get("same", HASHES))
    return lay_out(table["labels"], columns, made)


def declarations(folder: str) -> Declared:
    """What a folder declares, by the names of its tables."""
    found: Declared = yaml.safe_load((HERE / folder / "tables.yaml").read_text())
    return found


def rows(folder: Path, table: Declared) -> Iterator[Row]:
    """The rows that have runs, or ``all`` of them, each with what it is compared with."""
    made = {name: runs_of(folder, table, name) for name in table["rows"]}
    for name, labels in table.get("baseline", {}).items():
        yield Row(labels, results.baseline(next(r for r in made.values() if r.height), name))
    for name, row in table["rows"].items():
        settings = row if isinstance(row, dict) else {"labels": row}
        minus = settings.get("minus", table.get("minus"))
        reference = made[minus] if minus and minus != name else pl.DataFrame()
        labels = settings["labels"][: len(table["labels"])]  # rows are shared by tables
        if "peers" in table:
            yield from beside_peers(folder, table, name, labels, made[name])
        elif made[name].height or table.get("all"):
            yield Row(labels, made[name], reference)


def beside_peers(
    folder: Path, table: Declared, name: str, labels: list[str], runs: pl.DataFrame
) -> Iterator[Row]:
    """Our runs of a row beside those of each peer that has run it."""
    for library, title in table["peers"].items():
        path = folder / "peers" / f"{library}-{table['prefix'][:-1]}-{name}-parity.json"
        version, theirs = results.peer(path)
        if runs.height and theirs.height:
            yield Row([*labels, f"{title} {version}"], runs, theirs)


def runs_of(folder: Path, table: Declared, name: str) -> pl.DataFrame:
    """The runs of a row: our own, or a peer's ``within`` some epochs."""
    row = table["rows"][name]
    settings: Declared = row if isinstance(row, dict) else {}
    stem = table.get("prefix", "") + settings.get("row", name)
    if "within" in settings:
        return results.within(folder / "peers", stem, settings["within"])
    own: str = settings.get("folder") or table.get("folder", "runs")
    return results.of_row(folder / own, stem)


def tried_first() -> Table:
    """What is tried first, and ours, on the same rows: AUC and logloss of the test."""
    table = declarations("clicks")["first"]
    found = results.first(HERE / "clicks" / "first")
    data = [name for name in table["data"] if name in found]
    cells = {
        (name, row["model"]): f"{row['test/auc']:.4f} / {row['test/logloss']:.4f}"
        for name in data
        for row in found[name]
    }
    lines = [
        [title, *(cells.get((name, model), "") for name in data)]
        for model, title in table["rows"].items()
    ]
    return Table([table["heading"], *(table["data"][name] for name in data)], lines)


def split() -> str:
    """Queries and pairs of each part of Home Depot, and the hashes that they are known by."""
    run = results.ours(HERE / "search" / "runs").row(0, named=True)
    kinds = ("queries", "pairs")
    lines = [
        [part, *(f"{run[f'split.{part} {kind}']:,}" for kind in kinds)]
        for part in ("train", "val", "test")
    ]
    hashes = f"data `{run['data_hash'][:16]}`, protocol `{run['protocol_hash'][:16]}`"
    return f"{Table(['part', *kinds], lines)}\n\n{hashes}"


def of_one_run() -> str:
    """The run of ``make train``, seed 1, beside Popularity."""
    names = "recall@1 recall@5 recall@10 recall@20 ndcg@10 mrr precision@10 f1@10 auc coverage@10"
    run = results.of_row(HERE / "bert4rec_ml100k" / "ours", "ours").row(0, named=True)
    columns = [f"{who}{stage}/" for stage in ("val", "test") for who in ("popularity/", "")]
    lines = [
        [name, *(f"{run[column + name]:.4f}" for column in columns)]
        for name in (*names.split(), "popular@10")
    ]
    header = ["metric", "val Popularity", "val BERT4Rec", "test Popularity", "test BERT4Rec"]
    parts = {key: value for key, value in run.items() if key.startswith("seconds.")}
    seconds = ", ".join(f"{part.partition('.')[2]} {value:.1f} s" for part, value in parts.items())
    machine = f"{run['machine.cores']} cores ({run['machine.processor']})"
    return (
        f"{Table(header, lines)}\n\nSeed {run['seed']}, commit `{run['commit'][:10]}`, "
        f"{run['finished'][:10]}, {machine}: {seconds}. "
        "From `experiments/bert4rec_ml100k/ours/ours_seed1.json`."
    )


def first_page() -> Table:
    """Published rows and ours for the README; of what falls short one as well."""
    every = {f"{paper.name}/{each.name}": each for paper in PAPERS for each in paper.results}
    lines = []
    for row in map(every.__getitem__, FIRST_PAGE):
        data, title, *cells, seeds_run, minutes, _ = row.cells()
        said, ours, _, verdict = cells[4 * row.paper.figures.index(FIRST_FIGURE) :][:4]
        link = f"[{said}](experiments/{row.paper.name}/README.md)"
        lines.append([title, data, link, ours, verdict, seeds_run, minutes])
    published = f"published {FIRST_FIGURE.removeprefix('test/')}"
    header = ["model", "data", published, "here", "verdict", "seeds", "minutes a seed"]
    return Table(header, lines, text=2)


def speed() -> str:
    """How many times as fast as the best peer SASRec and BERT4Rec are trained, in a sentence."""
    ratios = {}
    for model, libraries in sequences.load(sequences.RESULTS, "speed").items():
        of = {name: median(runs, "targets_per_second_median") for name, runs in libraries.items()}
        ratios[model] = of["ours"] / max(of[name] for name in sequences.PEERS if name in of)
    return (
        f"On two CPU cores BERT4Rec is trained {ratios['bert4rec']:.1f} times as fast as by the "
        f"fastest of RecBole, RecTools and RePlay, and SASRec {ratios['sasrec']:.1f} times "
        "([targets a second on MovieLens-1M](benchmarks/README.md#speed-on-movielens-1m)). On a "
        "GPU the three were not measured."
    )


def published() -> str:
    """The rows of all papers."""
    return joined([paper.table() for paper in PAPERS])


def tried() -> str:
    """What did not help, of all papers."""
    return joined([paper.tried() for paper in PAPERS])


def joined(tables: list[Table]) -> str:
    """Those that have rows, and of equal headings as one."""
    alike: dict[tuple[str, ...], list[Table]] = {}
    for table in (each for each in tables if each.rows):
        alike.setdefault(tuple(table.header), []).append(table)
    every = (
        replace(some[0], rows=[r for each in some for r in each.rows]) for some in alike.values()
    )
    return "\n\n".join(map(str, every))


def all_of(folder: str, **built: Callable[[], object]) -> dict[str, Callable[[], object]]:
    """Every table that a folder declares by rows and columns, and those ``built`` otherwise."""
    names = [name for name, table in declarations(folder).items() if "columns" in table]
    return {name: partial(declared, folder, name) for name in names} | built


TABLES: dict[Path, dict[str, Callable[[], object]]] = {
    HERE.parent / "README.md": {"published": first_page, "speed": speed},
    HERE / "behaviors" / "README.md": all_of("behaviors"),
    HERE / "graphs" / "README.md": all_of("graphs"),
    HERE / "transfer" / "README.md": all_of("transfer"),
    HERE / "bert4rec_ml100k" / "README.md": all_of("bert4rec_ml100k", results=of_one_run),
    HERE / "README.md": {"rows": published, "tried": tried},
    HERE / "options" / "README.md": all_of("options"),
    HERE / "clicks" / "README.md": all_of("clicks", first=tried_first),
    HERE / "text" / "README.md": all_of("text"),
    HERE / "search" / "README.md": all_of("search", split=split),
}


def main() -> None:
    """Write, or with ``--check`` compare, every table."""
    files = {path: text for paper in PAPERS for path, text in paper.files().items()}
    for page, tables in TABLES.items():
        built = {name: build() for name, build in tables.items()}
        files[page] = filled(page.read_text(), page, **built)
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv and stale:
        raise SystemExit(f"out of date, run 'make tables': {', '.join(map(str, stale))}")
    for path in stale:
        path.write_text(files[path])


if __name__ == "__main__":
    main()
