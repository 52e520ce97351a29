"""``lightning-rec forecast``: how much of each item will be asked for, and when to order it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands import CONFIG_DIR, check_folder, take_flag
from lightning_rec.commands.abtest_plan import level_of
from lightning_rec.commands.asked import flag
from lightning_rec.commands.hydra_main import parted, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.figures import percent
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.demand.study import Asked, Study

HELP = """\
How much of each item will be asked for: models of demand, measured on a rolling
origin, what they expect after the log, and when to order again.

usage: lightning-rec forecast data=NAME [by=item] [every=week] [horizon=4]
                              [windows=6] [models=[ses,naive,croston,neural]]
                              [stock=FILE] [lead_time=2] [service=0.95]
                              [to=FOLDER] [overwrite=true] [KEY=VALUE…]
                              OVERRIDES

OVERRIDES are those of data, which has to have times: data=table data.path=….
every= is day, week (from Monday, UTC) or month; horizon= and lead_time= count
such periods. At windows= origins, one period apart, each model is shown what was
before and asked for horizon= periods.

models=    naive, seasonal (season= periods before), ses (exponential smoothing),
           croston (with SBA's correction), tsb, by statsforecast; neural, one
           recurrent network for all items (seed=1, epochs=60). Differences are
           told to the first.
by=        item, or a column of the catalogue
category=  the column of the catalogue above items; genres or the like if not said
quantity=  a column of the log to sum, such as rating (data.rating=); else events
since= until=   the dates from which, and up to and including which, the log is whole;
           else its last period is left out, and its first one where it begins late
history=8 least=1   periods since the first sale, and sales, before an origin
vectors=FILE known=DATE   item and vector, read by neural; the last event that they
           were made of, or known=always for those of texts
stock=FILE item and stock: how likely it runs out within lead_time=, and how much
           is missing to the reorder point of service=; or why that is not known
level=0.95 of intervals, which are over items

to= (runs/forecast) holds forecast.json, forecasts.parquet, backtest.parquet,
stock.csv and forecast.png; overwrite=true writes over those of
before. The extra 'forecast' installs statsforecast.

Examples:
  lightning-rec forecast data=ml_100k by=item every=week horizon=4 windows=6
  lightning-rec forecast data=table data.path=sales.csv data.user=customer \\
    data.item=sku data.time=date data.rating=pieces quantity=rating \\
    stock=stock.csv lead_time=2 service=0.98
"""
WHOLE = ("horizon", "windows", "history", "lead_time", "season", "epochs", "seed")
NAMED = ("every", "by", "category", "quantity", "since", "until", "vectors", "known", "stock")
KEYS = (*NAMED, *WHOLE, "models", "least", "service", "level", "to", "overwrite")


def run(arguments: list[str]) -> int:
    """Measure, forecast, write and show. Raises UserError on bad input."""
    named, arguments = take_flag(arguments, *CONFIG_DIR)
    said, rest = take_keys(arguments, *KEYS)
    flags, overrides = parted(rest)
    if flags or not any(each.startswith("data=") for each in overrides):
        raise UserError("Say of which log: lightning-rec forecast data=NAME; see --help.")
    asked = asked_of(said)
    folder = Path(said.get("to", "runs/forecast"))
    check(folder, overwrite=flag(said, "overwrite"))
    made = make(overrides, asked, [Path(each) for each in named])
    write(made, overrides, folder)
    show(made)
    Screen().print(f"All of it: {folder}", highlight=False, soft_wrap=True)
    return 0


def check(folder: Path, *, overwrite: bool) -> None:
    """Raise UserError unless ``folder`` can take a forecast, and holds none."""
    check_folder("to", folder)
    if (folder / "forecast.json").exists() and not overwrite:
        raise UserError(f"{folder} holds a forecast: name another to=, or say overwrite=true.")


def asked_of(said: dict[str, str]) -> "Asked":
    """What is asked, of keys as they are written. Raises UserError for one that is no such."""
    from lightning_rec.rules.given import words

    with loading():
        from lightning_rec.demand.study import Asked

    keys: dict[str, Any] = {key: said[key] for key in NAMED if key in said}
    keys |= {key: number(key, said[key], int) for key in WHOLE if key in said}
    keys |= {key: number(key, said[key], float) for key in ("least", "service") if key in said}
    if "models" in said:
        keys["models"] = words(said["models"])
    return Asked.of(level=level_of(said), **keys)


def make(overrides: list[str], asked: "Asked", folders: Sequence[Path] = ()) -> "Study":
    """The study of a log. Raises UserError where it has none of users and items."""
    from lightning_rec.build import problem_of
    from lightning_rec.commands.train import frozen
    from lightning_rec.config import compose
    from lightning_rec.data.fetch import cache_dir
    from lightning_rec.data.prepare import prepare
    from lightning_rec.demand.study import study
    from lightning_rec.problems.sequences import Sequences

    problem: Any = problem_of(frozen(compose(overrides, folders)))
    if not isinstance(problem, Sequences):
        raise UserError(
            f"task={problem.name}: demand is counted in a log of users and items, such as "
            "data=table; a table of clicks is none."
        )
    return study(prepare(problem.source, cache_dir()), asked)


def write(made: "Study", overrides: list[str], folder: Path) -> None:
    """Write all files into ``folder``, each whole or not at all; the picture where it can be."""
    from importlib.util import find_spec

    from lightning_rec.answers.files import write_table
    from lightning_rec.files import write_json
    from lightning_rec.runs.provenance import about

    folder.mkdir(parents=True, exist_ok=True)
    facts = {"overrides": overrides, **about(), **made.facts()}
    write_json(folder / "forecast.json", facts)
    write_table(made.forecasts.lazy(), folder / "forecasts.parquet")
    write_table(made.backtest.table.lazy(), folder / "backtest.parquet")
    write_table(made.stock.lazy(), folder / "stock.csv")
    if find_spec("matplotlib") is not None:
        from lightning_rec.demand.drawing import draw

        draw(made, folder)


def show(made: "Study") -> None:
    """Figures by level and model, and what runs out first."""
    screen, plan = Screen(), made.asked.plan
    for told in made.told:
        screen.print(told, highlight=False, soft_wrap=True)
    table = FittedTable(
        f"{plan.horizon} {made.asked.every}s ahead from {plan.windows} origins, "
        f"{percent(made.asked.level)} intervals over series",
        [*text("model"), *figures("series", *HEADS.values(), "service")],
    )
    levels = dict.fromkeys(each.level for each in made.figures)
    for level in levels:
        for model in made.asked.models:
            own = {each.figure: each for each in made.figures
                   if each.level == level and each.model == model}  # fmt: skip
            if not own:
                continue
            cells = [_cell(own.get(name)) for name in (*HEADS, "served")]
            count = next(iter(own.values())).series
            table.add_row(f"{level}, {model}", f"{count:,}", *cells)
    screen.print(table)
    first = made.asked.models[0]
    apart = [each for each in made.figures if each.level == "item" and each.difference is not None
             and each.figure in ("mase", "wape", "pinball")]  # fmt: skip
    if apart:
        table = FittedTable(
            f"Items: difference to {first}",
            [*text("model", "figure"), *figures("difference", "from", "to")],
        )
        for each in apart:
            ends = (each.difference, each.difference_low, each.difference_high)
            table.add_row(each.model, HEADS[each.figure], *(f"{end:+.4f}" for end in ends))
        screen.print(table)
    _show_stock(made)


HEADS = {"mase": "MASE", "rmsse": "RMSSE", "wape": "WAPE", "bias": "bias", "pinball": "pinball",
         "coverage": "in 80 %"}  # fmt: skip


def _cell(found: Any) -> str:
    if found is None:
        return "-"
    if found.low is None or found.figure in ("bias", "coverage", "served", "rmsse"):
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _show_stock(made: "Study") -> None:
    plan, stocked = made.asked.plan, "stock" in made.stock.columns
    more = ["stock", "runs out", "short"] if stocked else []
    table = FittedTable(
        f"{'Most at risk' if stocked else 'Most wanted'} within {plan.lead_time} "
        f"{made.asked.every}s, by {made.best}",
        [*text("item", "title"), *figures("expected", f"reorder at {plan.service:.0%}", *more)],
    )
    for row in made.stock.head(10).iter_rows(named=True):
        cells = [_said(row["expected"], ".1f"), _said(row["reorder_point"], "g")]
        if stocked:
            cells += [f"{row['stock']:g}", _said(row["stock_out"], ".1%"), _said(row["short"], "g")]
        table.add_row(row["item"], row["title"], *cells)
    Screen().print(table)


def _said(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
