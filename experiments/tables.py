"""Build the tables of README.md and ``experiments/*/README.md`` from the committed JSON.

A table is written between ``<!-- name:start -->`` and ``<!-- name:end -->``. With ``--check``
nothing is written and the exit status is 1 if a table is out of date.
"""

import json
import sys
from pathlib import Path
from typing import Any

import clicks
import options
import rows
import search
import text
from layout import markdown, mean_sd, welch

HERE = Path(__file__).parent
PARITY = HERE / "bert4rec_ml100k"
EPOCHS = 60  # of experiment=bert4rec_ml100k
SHOWN = ("test/ndcg@10", "test/recall@10", "val/ndcg@10")
METRICS = (
    "recall@1", "recall@5", "recall@10", "recall@20", "ndcg@10", "mrr", "precision@10", "f1@10",
    "auc", "coverage@10", "popular@10",
)  # fmt: skip


def load(pattern: str) -> list[dict[str, Any]]:
    """Read the JSON files of a row, ordered by seed."""
    found = [json.loads(path.read_text()) for path in PARITY.glob(pattern)]
    return sorted(found, key=lambda run: int(run["seed"]))


def ours(row: str) -> list[dict[str, float]]:
    """Figures of our runs, at their best validation."""
    return [run["metrics"] for run in load(f"ours/{row}_seed*.json")]


def peer(library: str, epochs: int) -> list[dict[str, float]]:
    """Figures of a peer's runs at their best validation within so many epochs.

    The peers train at a constant rate, so the first epochs of a longer run are a shorter one.
    """
    curves = [run["curve"] for run in load(f"peers/{library}_seed*.json")]
    within = [[entry for entry in curve if entry["epoch"] <= epochs] for curve in curves]
    return [max(entries, key=lambda entry: float(entry["val/ndcg@10"])) for entries in within]


def parity() -> str:
    """Compare BERT4Rec here and in the peers: on equal data first, then what windows buy."""
    rows = {
        "lightning_rec, 100 epochs, each user's latest 50 items": ours("latest"),
        "RecTools 0.19.0, 100 epochs, the same": peer("rectools", 100),
        "RePlay 0.22.0, 100 epochs, the same": peer("replay", 100),
        f"lightning_rec, {EPOCHS} epochs, windows over whole histories": ours("ours"),
        f"lightning_rec, {EPOCHS} epochs, windows, `model.init=paper`": ours("paper"),
        f"RecTools 0.19.0, {EPOCHS} epochs, latest 50": peer("rectools", EPOCHS),
        f"RePlay 0.22.0, {EPOCHS} epochs, latest 50": peer("replay", EPOCHS),
    }
    first = [run["test/ndcg@10"] for run in ours("latest")]
    lines = []
    for title, runs in rows.items():
        if len(runs) < 2:
            continue
        figures = [mean_sd([run[name] for run in runs]) for name in SHOWN]
        beside = welch(first, [run["test/ndcg@10"] for run in runs]) if lines else ""
        lines.append([title, str(len(runs)), *figures, beside])
    header = ["BERT4Rec of", "seeds", *SHOWN, "first row minus this, test ndcg@10 [95 %]"]
    return markdown(header, lines)


def results() -> str:
    """Show the README's run, seed 1, beside Popularity."""
    run = load("ours/ours_seed1.json")[0]
    figures = run["metrics"]
    rows = [
        [f"{name}"]
        + [
            f"{figures[f'{who}{stage}/{name}']:.4f}"
            for stage in ("val", "test")
            for who in ("popularity/", "")
        ]
        for name in METRICS
    ]
    table = markdown(
        ["metric", "val Popularity", "val BERT4Rec", "test Popularity", "test BERT4Rec"], rows
    )
    seconds = ", ".join(f"{part} {value:.1f} s" for part, value in run["seconds"].items())
    machine = f"{run['machine']['cores']} cores ({run['machine']['processor']})"
    return (
        f"{table}\n\nSeed {run['seed']}, commit `{run['commit'][:10]}`, {run['finished'][:10]}, "
        f"{machine}: {seconds}. From `experiments/bert4rec_ml100k/ours/ours_seed1.json`."
    )


def published() -> str:
    """Show the published rows beside ours."""
    return markdown(rows.HEADER, rows.table())


def tried() -> str:
    """Show what was tried and did not help."""
    return markdown(rows.TRIED, rows.tried())


def effects() -> str:
    """Show what each named option does to the figures."""
    return markdown(options.HEADER, options.table())


TABLES = {
    HERE.parent / "README.md": {
        "results": results,
        "parity": parity,
        "harness": clicks.side_by_side,
    },
    PARITY / "README.md": {"parity": parity},
    rows.HERE / "README.md": {"rows": published, "tried": tried},
    options.HERE / "README.md": {"effects": effects},
    clicks.HERE / "README.md": clicks.TABLES,
    text.HERE / "README.md": text.TABLES,
    search.HERE / "README.md": search.TABLES,
}


def main() -> None:
    """Write, or with ``--check`` compare, every table."""
    stale = []
    for path, record in rows.records().items():
        content = json.dumps(record, indent=1) + "\n"
        if not path.exists() or path.read_text() != content:
            stale.append(path)
            if "--check" not in sys.argv:
                path.write_text(content)
    for page, tables in TABLES.items():
        content = page.read_text()
        for name, build in tables.items():
            start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
            before, _, rest = content.partition(start)
            _, found, after = rest.partition(end)
            if not found:
                raise SystemExit(f"{page} has no {start} … {end}")
            content = f"{before}{start}\n{build()}\n{end}{after}"
        if content != page.read_text():
            stale.append(page)
            if "--check" not in sys.argv:
                page.write_text(content)
    if "--check" in sys.argv and stale:
        raise SystemExit(f"out of date, run 'make tables': {', '.join(map(str, stale))}")


if __name__ == "__main__":
    main()
