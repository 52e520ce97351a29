"""``lightning-rec ensemble RUN …``: finished runs that answer together, as a run of their own."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.compare import sources
from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.figures import declared, parse, parsed
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.lab.ensembles import Asked
    from lightning_rec.lab.reading import Source
    from lightning_rec.runs.folder import RunFolder

HELP = """\
Finished runs that answer together: a run folder like any other, to be compared,
verified, evaluated and loaded.

usage: lightning-rec ensemble [NAME=]RUN|SWEEP ... [by=scores|probabilities|ranks]
                              [weights=equal|fitted|[0.7,0.3]] [k=60] [to=FOLDER]

Members are runs of sequences, or of clicks, on the same data with the same
catalogue and protocol; of a sweep its completed jobs. by= says what the mean is
of. Of sequences: standard scores of each query (the default), probabilities by
softmax, or reciprocal ranks 1/(k+rank). Of clicks: probabilities (the default),
or scores, which are their logits. weights=fitted takes the weights that are
best on validation, never on the test: of sequences by the monitored figure, of
clicks by logloss. The folder holds copies of what it needs of the members, and
ensemble.json with the figures of each and how alike they are.

Examples:
  lightning-rec ensemble runs/sasrec runs/bert4rec runs/ease
  lightning-rec ensemble SASRec=runs/sasrec EASE=runs/ease by=ranks to=runs/both
  lightning-rec ensemble runs/three_seeds weights=fitted
  lightning-rec ensemble runs/deepfm runs/dcnv2 'weights=[0.7,0.3]'
"""


def run(arguments: list[str]) -> int:
    """Make the ensemble, and show it beside its members. Raises UserError on bad input."""
    said, named = take_keys(arguments, "by", "weights", "k", "to")
    if not named or any(each.startswith("-") for each in named):
        raise UserError("Say of which runs: lightning-rec ensemble RUN RUN ...")
    k = number("k", said["k"], int) if "k" in said else None
    weights = _weights(said.get("weights", "equal"))
    with loading():
        from lightning_rec.lab.ensembles import Asked
    made, told = make(sources(named), Asked(said.get("by"), weights, k), said.get("to"))
    console = Screen()
    console.print(_members(made, told))
    if len(told["figures"]) > 1:
        console.print(_alike(told))
    if told["fitted"]:
        ((figure, value),) = told["fitted"].items()
        console.print(f"Weights by validation: {figure} {value:.4f}", highlight=False)
    return 0


def make(
    sources: "list[Source]", asked: "Asked", folder: str | Path | None
) -> "tuple[RunFolder, dict[str, Any]]":
    """Make and evaluate an ensemble, a run in ``folder``; what its ensemble.json holds.

    Raises UserError where the members cannot be joined, before anything is written.
    """
    from lightning_rec import training
    from lightning_rec.lab.ensembles import composed, concluded, named
    from lightning_rec.runs.folder import RunFolder

    members = named(*sources)
    path = Path(folder or f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_ensemble")
    cfg = composed(members, asked, path)
    training.train(cfg, path, [*(f"{name}={run}" for name, run in members.items()), *asked.said()])
    told = concluded(path, members)
    return RunFolder.open(path), told


def _weights(value: str) -> str | list[float]:
    """Raises UserError for what are no weights."""
    if value in ("equal", "fitted"):
        return value
    if not (value[:1] == "[" and value[-1:] == "]"):
        raise UserError(f"weights={value}: say equal, fitted, or one for each member, [0.7,0.3].")
    return [number("weights", each.strip(), float) for each in value[1:-1].split(",")]


def _members(run: "RunFolder", told: dict[str, Any]) -> FittedTable:
    """Each member and all together: weight and the figures that tables of sweeps show."""
    cfg = run.config
    known, at = declared(cfg.get("metrics")), parse(cfg.monitor).k
    names = [
        name
        for name, part in parsed(told["ensemble"]).items()
        if part.stage == "test" and not (part.slice or part.model or part.sampled)
        if part.k in (None, at) and (figure := known.get(part.figure)) is not None
        if figure.better and figure.shown == "summary"
    ]
    names = [cfg.monitor, *names]
    table = FittedTable("Members", [*text("run"), *figures("weight", *names)])
    lines = {**told["figures"], "ensemble": told["ensemble"]}
    for name, of in lines.items():
        weight = f"{told['weights'][name]:.3f}" if name in told["weights"] else ""
        cells = (f"{of[each]:.4f}" if each in of else "" for each in names)
        table.add_row(name, weight, *cells)
    return table


def _alike(told: dict[str, Any]) -> FittedTable:
    """How alike each two members are."""
    jaccard = told.get("jaccard")
    headings = [*([f"jaccard@{told['k']}"] if jaccard else []), f"correlation of {told['of']}"]
    table = FittedTable("How alike they are", [*text("members"), *figures(*headings)])
    names = [*told["figures"]]
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            found = [*([jaccard[one][other]] if jaccard else []), told["correlation"][one][other]]
            cells = ("" if each is None else f"{each:.3f}" for each in found)
            table.add_row(f"{one}, {other}", *cells)
    return table
