"""``lightning-rec pipeline RUN …``: finished runs retrieve, another model ranks, as one run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.compare import sources
from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number, numbers
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.lab.pipelines import Asked

HELP = """\
Retrieve, then rank: finished runs give candidates, a model of clicks puts them
in order. The result is a run folder like any other.

usage: lightning-rec pipeline [NAME=]RUN ... [quotas=100|[100,50]]
                              [ranker=none|'model=…'|RUN] [negatives=100]
                              [held=0.2] [seed=1] [stages=FOLDER] [to=FOLDER]

Retrievers are runs of sequences on the same data with the same catalogue and
protocol (leave_one_out or temporal), or runs of matching (BM25, bi-encoders) on
the same pairs. Each gives its quotas= best items; their union is ranked by
ranker=, the settings of a model of clicks, or by nothing but the retrievers'
ranks. The ranker never sees what is validated or tested: each
retriever is trained once more, on what was before the latest events of
training, or without the share held= of the training queries, and the ranker
learns to put these first among the candidates that it gives there. All of that
is kept below stages= (runs/stages), by its settings and data: another quota or
ranker trains no retriever again, and the same command goes on where it was
stopped. Of queries ranker= may also be a run of a cross-encoder on the same
pairs, which reads query and item and is taken as it is. pipeline.json says what
each stage finds and loses.

Examples:
  lightning-rec pipeline runs/sasrec runs/ease runs/popularity
  lightning-rec pipeline SASRec=runs/sasrec EASE=runs/ease 'quotas=[200,100]'
  lightning-rec pipeline runs/sasrec runs/ease ranker='model=lightgbm model.leaves=15'
  lightning-rec pipeline runs/sasrec runs/ease ranker=none to=runs/fused
  lightning-rec pipeline BM25=runs/bm25 Bi=runs/bi to=runs/shop
  lightning-rec pipeline BM25=runs/bm25 Bi=runs/bi quotas=20 ranker=runs/cross
"""


def run(arguments: list[str]) -> int:
    """Make the pipeline, and show what its stages find. Raises UserError on bad input."""
    keys = ("quotas", "ranker", "negatives", "seed", "held", "stages", "to")
    said, named = take_keys(arguments, *keys)
    if not named or any(each.startswith("-") for each in named):
        raise UserError("Say of which runs: lightning-rec pipeline RUN RUN ...")
    with loading():
        from lightning_rec.commands.stages import make
    _, told = make(sources(named), _asked(said), said.get("stages"), said.get("to"))
    console = Screen()
    console.print(_found(told))
    console.print(_stages(told))
    figure = "test/ndcg@10"
    singles = {name: each.get(figure, 0.0) for name, each in told["figures"].items()}
    best, whole = max(singles, key=lambda name: singles[name]), told["pipeline"].get(figure, 0.0)
    if singles[best] > whole:
        console.print(
            f"{best} alone comes to {singles[best]:.4f} in {figure}, all together to {whole:.4f}: "
            "as it is, the pipeline is not worth its cost. Compare on more data, or try another "
            "ranker=.",
            highlight=False,
            soft_wrap=True,
        )
    return 0


def _asked(said: dict[str, str]) -> "Asked":
    from lightning_rec.lab.pipelines import Asked

    given: dict[str, Any] = {
        key: number(key, said[key], int) for key in ("negatives", "seed") if key in said
    }
    if negative := [key for key, value in given.items() if value < 0]:
        raise UserError(f"{negative[0]}={said[negative[0]]}: it must be 0 or more.")
    if "held" in said:
        given["held"] = number("held", said["held"], float)
        if not 0 < given["held"] < 1:
            raise UserError(f"held={said['held']}: it must be between 0 and 1.")
    if "quotas" in said:
        given["quotas"] = numbers("quotas", said["quotas"])
    if "ranker" in said:
        words = said["ranker"].split()
        given["ranker"] = None if words == ["none"] else words
        if len(words) == 1 and (Path(said["ranker"]) / "run.json").is_file():
            given["ranker"] = Path(said["ranker"])
        elif words != ["none"] and not all("=" in word for word in words):
            raise UserError(
                f"ranker={said['ranker']}: say none, the settings of a model of clicks, such as "
                "ranker='model=lightgbm model.leaves=15', or the folder of a run of a "
                "cross-encoder."
            )
    return Asked(**given)


def _found(told: dict[str, Any]) -> FittedTable:
    """Each retriever and all of them: of the test's targets, what it finds and finds alone."""
    table = FittedTable(
        "Retrieved", [*text("retriever"), *figures("quota", "found", "it alone", "ms", "ndcg@10")]
    )
    found = told["recall"]["test"]
    for name, quota in told["quotas"].items():
        own = told["figures"][name].get("test/ndcg@10")
        cells = (found["found"][name], found["only"][name])
        shown = [f"{each:.4f}" for each in cells]
        table.add_row(name, str(quota), *shown, f"{told['milliseconds'][name]:.2f}", _cell(own))
    own, mean = told["pipeline"].get("test/ndcg@10"), f"{found['candidates']:.0f}"
    whole = f"{told['milliseconds']['all, median']:.2f}"
    table.add_row("together", mean, f"{found['any']:.4f}", "", whole, _cell(own))
    return table


def _stages(told: dict[str, Any]) -> FittedTable:
    """Where the targets of the test end."""
    lost = told["lost"]
    table = FittedTable(f"Where targets end, at {lost['k']}", [*text("stage"), *figures("share")])
    for name in ("unknown", "not retrieved", "ranked below", "shown"):
        table.add_row(name, f"{lost[name]:.4f}")
    return table


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
