"""``lightning-rec backtest``: train on a rolling origin, and see how models age."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_rec.commands import CONFIG_DIR, check_folder, take_flag
from lightning_rec.commands.abtest_plan import level_of
from lightning_rec.commands.hydra_main import parted, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.figures import percent
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.lab.backtests import Backtest, Window
    from lightning_rec.lab.rolling import Rolling

HELP = """\
Train on a rolling origin, as a shop that trains again would have, and measure
each model on the window after it: how fast models age, and which refresh pays.

usage: lightning-rec backtest every=DURATION [windows=4] [window=DURATION]
                              [valid=DURATION] [refresh=[never,update,anew]]
                              [update=OVERRIDES] [figure=ndcg@10|auc] [level=0.95]
                              [to=FOLDER] OVERRIDES

OVERRIDES are those of 'train', of a model of sequences or of clicks on data with
times (of clicks data.fields.time=). The log is cut at windows= moments, every=
apart, the last of them every= before its end: a model for a window trains on
what is before it (window=: no longer than that), the latest valid= of which
(every=) validates, and is tested on the window. refresh= are the ways to come to
the next window: never trains the first model alone, update goes on from the
model before with what is new (method=update, with update= as further overrides; not
of models that are fitted at once), anew trains from the start.

figure= is of sequences a metric at a cut-off, of clicks auc, gauc or logloss.
Runs lie below to= (runs/backtest): the same command goes on where it was
stopped. backtest.json has all figures; backtest.png shows them.

Examples:
  lightning-rec backtest every=14d windows=4 data=ml_100k model=sasrec
  lightning-rec backtest every=7d window=60d refresh=[never,anew] data=table \\
    data.path=log.csv data.user=uid data.item=sku data.time=ts model=itemknn
  lightning-rec backtest every=14d figure=logloss data=ml_100k_clicks model=deepfm
  lightning-rec backtest every=14d update='trainer.max_epochs=3 method.replay=0.5' \\
    data=ml_100k model=gru4rec
"""
CHOSEN = (
    "protocol=", "run_dir=", "method",
    *(f"protocol.{key}=" for key in ("since", "until", "val_from", "test_from")),
)  # fmt: skip
ALL, REST = "[never,update,anew]", "[never,anew]"
KEYS = ("every", "windows", "window", "valid", "refresh", "update", "figure", "level", "to")


def run(arguments: list[str]) -> int:
    """Train what is missing, measure, and show. Raises UserError on bad input."""
    named, arguments = take_flag(arguments, *CONFIG_DIR)
    said, rest = take_keys(arguments, *KEYS)
    flags, overrides = parted(rest)
    if flags or "every" not in said:
        raise UserError("Say how long a window is: lightning-rec backtest every=14d OVERRIDES")
    if own := [each for each in overrides if each.startswith(CHOSEN)]:
        raise UserError(f"{own[0]}: a backtest chooses that itself; see --help.")
    with loading():
        from lightning_rec.files import write_json
        from lightning_rec.lab.backtests import Backtest, draw, measured
        from lightning_rec.runs.logs import logging_to, told_once
        from lightning_rec.runs.provenance import about

    level = level_of(said)
    _ways(said.get("refresh", ALL))
    folder = Path(said.get("to", "runs/backtest"))
    check_folder("to", folder)
    more = said.get("update", "").split()
    with told_once():
        with logging_to(None):
            log = _log(said, overrides, [Path(each) for each in named])
        ways = _refreshed(said, log)
        runs = _trained(log, ways, overrides, more, folder)
    kind, problem, windows = log.kind, log.problem, log.windows
    made = measured(
        Backtest(log.figure, level, {}, {}, {}, kind.units(problem)),
        windows,
        runs,
        lambda run, at: kind.ask(problem, log.splits[at], run, log.figure),
    )
    write_json(
        folder / "backtest.json",
        {
            "overrides": overrides,
            **{key: said[key] for key in KEYS if key in said and key != "to"},
            **about(),
            **made.facts(windows),
            "runs": {f"{way} {at}": str(path) for (way, at), path in runs.items()},
        },
    )
    _show(made, windows)
    from importlib.util import find_spec

    if find_spec("matplotlib") is not None:
        draw(made, windows, folder)
    Screen().print(f"All of it: {folder}", highlight=False, soft_wrap=True)
    return 0


def _refreshed(said: dict[str, str], log: "_Log") -> list[str]:
    """The ways of ``refresh=``. Raises UserError if the model cannot go on and is to."""
    from lightning_rec.lab.backtests import UPDATE

    ways = _ways(said.get("refresh", ALL))
    if UPDATE not in ways or log.kind.goes_on(log.problem):
        return ways
    why = "is fitted at once, and has no weights to go on with"
    if "refresh" in said:
        raise UserError(f"refresh={said['refresh']}: this model {why}: say refresh={REST}.")
    told = f"This model {why}: refresh={REST}."
    Screen().print(told, highlight=False, markup=False, soft_wrap=True)
    return _ways(REST)


def _ways(said: str) -> list[str]:
    from lightning_rec.lab.backtests import WAYS
    from lightning_rec.rules.given import words

    asked = words(said)
    if not asked or (unknown := [each for each in asked if each not in WAYS]):
        more = f"; {unknown[0]} is none" if asked else ", one or several"
        raise UserError(f"refresh={said}: they are of {', '.join(WAYS)}{more}.")
    return [each for each in WAYS if each in asked]


class _Log(NamedTuple):
    """A log: what kind of problem it is, the windows, the split for each by number."""

    kind: "Rolling"
    problem: Any
    figure: str
    windows: list["Window"]
    splits: dict[int, Any]
    folders: Sequence[Path]


def _log(said: dict[str, str], overrides: list[str], folders: Sequence[Path]) -> _Log:
    """The windows of a log, and their splits. Raises UserError before training."""
    from lightning_rec.build import problem_of
    from lightning_rec.commands.train import frozen
    from lightning_rec.config import compose, plain, target
    from lightning_rec.data.dates import duration
    from lightning_rec.data.fetch import cache_dir
    from lightning_rec.lab.backtests import windows_of
    from lightning_rec.lab.rolling import rolling_of

    def problem_under(*protocol: str) -> Any:
        return problem_of(frozen(compose([*overrides, *protocol], folders)))

    anyhow = [each for each in overrides if not each.startswith("protocol.")]
    kind = rolling_of(target("task", plain(compose(anyhow, folders).task)))
    count = number("windows", said.get("windows", "4"), int)
    if count < 1:
        raise UserError(f"windows={count}: it has to be 1 or more.")
    lengths = {key: duration(key, said[key]) for key in ("every", "window", "valid") if key in said}
    every = lengths["every"]
    problem = problem_under(f"protocol={kind.protocol}")
    figure = said.get("figure", kind.usual)
    kind.check(problem, figure)
    ends, rest = kind.ends(problem), (lengths.get("window"), lengths.get("valid", every))
    windows = windows_of(*ends, every, count, *rest)
    splits = {
        each.number: problem_under(*each.overrides(kind.protocol)).load(cache_dir())
        for each in windows
    }
    return _Log(kind, problem, figure, windows, splits, folders)


def _trained(
    log: _Log, ways: list[str], overrides: list[str], more: list[str], folder: Path
) -> dict[tuple[str, int], Path]:
    """The runs of each way for each window, trained as far as they are missing."""
    from pytorch_lightning import Callback

    from lightning_rec.commands.repeating import train_or_resume
    from lightning_rec.lab.backtests import ANEW, NEVER, UPDATE

    runs = dict[tuple[str, int], Path]()

    def train(name: str, asked: list[str]) -> Path:
        path = (folder / name).absolute()
        line = [*overrides, *log.kind.without, *asked]
        train_or_resume(line, path, log.folders, watch=Callback())
        return path

    first = train(f"{ANEW}_1", log.windows[0].overrides(log.kind.protocol))
    for each in log.windows:
        for way in ways:
            name, asked = f"{way}_{each.number}", each.overrides(log.kind.protocol)
            if each.number == 1 or way == NEVER:
                runs[way, each.number] = first
            elif way == ANEW:
                runs[way, each.number] = train(name, asked)
            elif way == UPDATE:
                before = runs[UPDATE, each.number - 1]
                more_asked = ["method=update", f"method.run='{before}'", *more]
                runs[way, each.number] = train(name, [*asked, *more_asked])
    return runs


def _show(made: "Backtest", windows: list["Window"]) -> None:
    """Each way over the windows; ways beside each other; how models age."""
    told, screen = made.facts(windows), Screen()
    over = f"{percent(made.level)} intervals over {made.units}"
    columns = [*text("window from"), *figures("targets"), *text("refreshed")]
    table = FittedTable(f"{made.figure}, {over}", [*columns, *figures(made.figure, "from", "to")])
    for each in told["windows"]:
        first = (each["start"][:16].replace("T", " "), f"{each['targets']:,}")
        for way, value in each["figures"].items():
            ends = each["intervals"][way] or (None, None)
            table.add_row(*first, way, *(_cell(end) for end in (value, *ends)))
            first = ("", "")
    screen.print(table)
    columns = [*text("refreshed"), *figures("targets", "figures", "difference", "from", "to")]
    table = FittedTable(
        f"{made.figure} of all windows but the first, {over}",
        [*columns, *figures("CPU seconds more")],
    )
    for each in told["compared"]:
        ends = [f"{each[key]:+.4f}" for key in ("difference", "low", "high")]
        both = f"{_cell(each['figure'])}, {_cell(each['beside'])}"
        cells = (f"{each['targets']:,}", both, *ends, f"{each['seconds']:,.0f}")
        table.add_row(f"{each['way']} minus {each['other']}", *cells)
    screen.print(table)
    if told["ages"]:
        columns = figures("targets", "figure", "of a new one", "difference", "from", "to")
        columns = [*text("windows since training"), *columns]
        table = FittedTable(f"How models age: {made.figure}, {over}", columns)
        for each in told["ages"]:
            ends = [f"{each[key]:+.4f}" for key in ("difference", "low", "high")]
            means = (_cell(each["figure"]), _cell(each["new"]))
            table.add_row(str(each["age"]), f"{each['targets']:,}", *means, *ends)
        screen.print(table)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
