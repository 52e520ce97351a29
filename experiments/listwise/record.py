"""The tables of the page: ``python -m experiments.listwise.record RESULTS PAGE [NAME=RUN …]``.

RUN is a run of ``model=listwise``; what is told of it goes to RESULTS first, a file, under NAME.
``--check`` says whether the tables of PAGE are those of RESULTS.
"""

import sys
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json
from lightning_rec.files import write_json
from lightning_rec.lab.records import record

FIGURES = ("ndcg@10", "recall@10", "ndcg@20")
KEPT = (
    *("commit", "dirty", "started", "finished", "cpu_seconds", "seconds", "machine", "overrides"),
    *("data_hash", "protocol_hash", "protocol", "config_hash", "record_hash", "seed"),
)


def told(run: Path) -> dict[str, Any]:
    """What is kept of a run; with the readings themselves, so that all can be counted again."""
    kept = {key: each for key, each in record(run).items() if key in KEPT}
    lists = pl.read_parquet(run / "lists.parquet")
    target = pl.read_parquet(run / "test_users.parquet").select("user", "rank", "first_rank")
    return kept | {
        "listwise": read_json(run / "listwise.json"),
        "ranks": target.to_dict(as_series=False),
        "readings": lists.height,
    }


def spread(found: list[float], digits: int = 3, sign: str = "") -> str:
    """A mean with its interval."""
    mean, low, high = (f"{each:{sign}.{digits}f}" for each in found)
    return f"{mean} [{low}, {high}]"


def figures(path: Path) -> str:
    """Each way of reading beside the run that found the candidates, on the same users."""
    results = read_json(path)
    heads = [name for figure in FIGURES for name in (figure, "less the retriever [95 %]")]
    lines = headed(["read", *heads, "probability of any letter"])
    first = next(iter(results.values()))["listwise"]["figures"]
    retriever = [cell for figure in FIGURES for cell in (f"{first[figure]['first']:.4f}", "")]
    lines.append(row(["SASRec alone", *retriever, ""]))
    for name, each in results.items():
        of, cells = each["listwise"]["figures"], [name]
        for figure in FIGURES:
            cells += [f"{of[figure]['listwise']:.4f}", spread(of[figure]["difference"], 4, "+")]
        lines.append(row([*cells, f"{each['listwise']['probability of any letter']:.2f}"]))
    return "\n".join(lines)


def bias(path: Path) -> str:
    """What the place does in each way of reading."""
    lines = headed(
        ["read", "place most put first", "how often", "Kendall's tau of two orders",
         "ndcg@10: target at the start", "in the middle", "at the end"]
    )  # fmt: skip
    for name, each in read_json(path).items():
        of = each["listwise"]
        top = of["places"]["first"]
        place = [each[0] for each in top].index(max(each[0] for each in top))
        tau = spread(of["kendall tau"]) if "kendall tau" in of else ""
        cells = [name, str(place + 1), spread(top[place]), tau]
        for part in ("start", "middle", "end"):
            found = of["target"][part]
            known = found["ndcg@10"]
            cells.append(f"{spread(known)} of {found['readings']}" if known else "none")
        lines.append(row(cells))
    return "\n".join(lines)


def places(path: Path) -> str:
    """By place, of the first way of reading and of that which is calibrated."""
    shown = {
        name: each for name, each in read_json(path).items() if "kendall tau" in each["listwise"]
    }
    heads = ["put first", "mean rank", "effect on log p"]
    lines = headed(["place", *(f"{each}, {name}" for name in shown for each in heads)])
    number = len(next(iter(shown.values()))["listwise"]["places"]["rank"])
    for place in range(number):
        cells = [str(place + 1)]
        for each in shown.values():
            of = each["listwise"]["places"]
            cells += [spread(of["first"][place]), spread(of["rank"][place], 1)]
            cells.append(spread(of["effect"][place], 2, "+"))
        lines.append(row(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for said in [each for each in sys.argv[3:] if each != "--check"]:
        title, _, where = said.partition("=")
        made = read_json(target) if target.is_file() else {}
        write_json(target, made | {title: told(Path(where))})
    fill({"figures": figures, "bias": bias, "places": places})
