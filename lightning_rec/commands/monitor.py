"""``lightning-rec monitor``: how a log differs from what its model was trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.abtest_plan import level_of
from lightning_rec.commands.asked import keys_of, nothing_else
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError, import_extra, listed, suggest
from lightning_rec.figures import percent
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.monitoring.judging import Line
    from lightning_rec.monitoring.reference import Reference
    from lightning_rec.monitoring.requests import Watching
    from lightning_rec.predict.clicks import ClickPredictor
    from lightning_rec.serving.opening import Model

HELP = """\
Watch a server: what its log has that training had not. Popularity and categories
of items in histories, answers and events, lengths of histories, hours, scores,
unknown ids, errors, empty answers and latency, by windows of time.

usage: lightning-rec monitor log=FILE model=FOLDER [every=1d] [last=N]
                             [reference=LOG] [level=0.99] [p99=MS]
                             [limits={errors: 0.01, unknown_items: 0.05, ...}]
                             [to=PAGE.html] [json=FILE.json]

log= is the request log of 'serve' with log_items=true: log=[a,b] for several
servers and what was rotated; or, of models of clicks, a table with the columns
that the model reads, its scores (score) and, where they are known, labels.
model= (or bundle=) is the bundle or run that answered. reference= is the log of a
good time, to compare with in place of training. every= parts the log into
windows, last= takes the latest of them. p99= is what 99 of 100 requests may take.

Moved is what chance does not explain (p after Benjamini and Hochberg below
1 - level) and is large: PSI from .1 on, far from .25 on; a share above its limit.

exits with 0 if nothing moved, with 3 if something did.

Examples:
  lightning-rec monitor log=requests.jsonl model=bundle every=1d last=1
  lightning-rec monitor log=requests.jsonl model=bundle to=watch.html
"""
KEYS = (
    "log", "model", "bundle", "every", "last", "reference", "level", "p99", "limits", "to", "json"
)  # fmt: skip
MOVED = 3  # exit status; 2 is bad input
SCORE = "score"  # the column of a table
NOTHING = (
    "The model keeps nothing to compare with: export it anew, or say reference=LOG of a good time. "
    "Shares and times are told alone."
)


def run(arguments: list[str]) -> int:
    """Print what moved. Raises UserError on bad input."""
    said, others = keys_of(arguments, "monitor", KEYS)
    nothing_else(others, "monitor")
    if "log" not in said or ("model" in said) == ("bundle" in said):
        raise UserError("Say what was logged, and by which: monitor log=FILE model=FOLDER")
    with loading():
        from lightning_rec.files import write_json
    asked = _asked(said)
    lines, notes = _found(said, asked)
    show(lines, asked.level, every=asked.every is not None)
    screen = Screen()
    for sentence in [*notes, *sentences(lines)]:
        screen.print(sentence, highlight=False, soft_wrap=True)
    if "to" in said:
        _page(said, lines, [*notes, *sentences(lines)], asked.level)
    if "json" in said:
        told = {"level": asked.level, "notes": notes, "lines": [asdict(line) for line in lines]}
        write_json(Path(said["json"]), told)
    return MOVED if any(line.warns for line in lines) else 0


def _page(said: dict[str, str], lines: Sequence["Line"], told: Sequence[str], level: float) -> None:
    """Write the page of ``to=``. Raises UserError."""
    target = Path(said["to"])
    if target.suffix not in (".html", ".htm") or target.is_dir():
        raise UserError(f"to={target}: the page is HTML, so name it so, to={target}.html.")
    for library in ("jinja2", "plotly"):
        import_extra(library, "to=", "report")
    with loading():
        from lightning_rec.files import write_text
        from lightning_rec.reports.moved import page
    target.parent.mkdir(parents=True, exist_ok=True)
    name = Path(said.get("model") or said["bundle"]).name
    write_text(target, page(name, lines, told, level))
    Screen().print(f"Written to {target.absolute()}", highlight=False, soft_wrap=True)


def _asked(said: dict[str, str]) -> "Watching":
    """Raises UserError."""
    from lightning_rec.monitoring.requests import LIMITS, Watching
    from lightning_rec.rules.given import pairs

    limits = dict(LIMITS)
    for name, value in (pairs("limits", said["limits"]) if "limits" in said else {}).items():
        if name not in LIMITS:
            raise UserError(f"limits= knows no {name}.{suggest(name, LIMITS)}")
        limits[name] = number(name, str(value), float)
        if not 0 < limits[name] < 1:
            raise UserError(f"limits={{{name}: {value}}}: a share is above 0 and below 1.")
    last = number("last", said["last"], int) if "last" in said else None
    p99 = number("p99", said["p99"], float) if "p99" in said else None
    if (last is not None and last < 1) or (p99 is not None and not p99 > 0):
        raise UserError("last= and p99= are above 0.")
    if last is not None and "every" not in said:
        raise UserError("last= counts the windows of every=: say both.")
    level = level_of(said) if "level" in said else 0.99
    return Watching(level, said.get("every"), last, p99, limits)


def _found(said: dict[str, str], asked: "Watching") -> tuple[list["Line"], list[str]]:
    """The lines, and sentences on what could not be compared. Raises UserError."""
    from lightning_rec.predict.clicks import ClickPredictor
    from lightning_rec.rules.given import words
    from lightning_rec.trials.requests import are_request_logs

    paths = [Path(each) for each in words(said["log"])]
    if len(paths) > 1 or are_request_logs(paths):
        return _of_requests(said, asked)
    predictor = _model(said).predictor
    if not isinstance(predictor, ClickPredictor):
        raise UserError(f"{paths[0]} is no request log, and tables are of models of clicks.")
    return _of_rows(said, predictor, asked)


def _of_rows(
    said: dict[str, str], predictor: "ClickPredictor", asked: "Watching"
) -> tuple[list["Line"], list[str]]:
    """The same of a table of clicks; scores are those of its column ``score``, or made."""
    import numpy as np
    import polars as pl

    from lightning_rec.data.clicks import columns
    from lightning_rec.data.tabular import open_table
    from lightning_rec.monitoring.bins import of_table
    from lightning_rec.monitoring.judging import judged
    from lightning_rec.monitoring.reference import Reference, reference_of
    from lightning_rec.monitoring.rows import SCORES, check_numbers, kept_rows, watched_rows

    goals = predictor.processor.schema.goals

    def read(path: str) -> Any:
        table = open_table(Path(path))
        rows = table.collect(table.frame)
        if rows.is_empty():
            raise UserError(f"{path} holds no rows.")
        check_numbers(rows, predictor)
        if len(goals) > 1:
            return rows.drop([f"{SCORE}_{goal}" for goal in goals], strict=False)
        if SCORE not in rows.columns:
            rows = predictor.score(rows)
        if (words := columns.words(rows[SCORE])).any():
            value = rows[SCORE].filter(pl.Series(words))[0]
            raise UserError(
                f"{path}: column '{SCORE}' holds {value!r}, which is no number: leave the column "
                "out, and the model scores the rows."
            )
        scores = pl.Series(SCORES, columns.numbers(rows[SCORE])).fill_nan(None)
        return rows.drop(SCORE).with_columns(scores)

    rows, notes = read(said["log"]), list[str]()
    if len(goals) > 1:
        notes.append("The model has several goals: their scores and calibration are not watched.")
    reference = reference_of(Path(said.get("model") or said["bundle"]), predictor)
    if "reference" in said:
        good = read(said["reference"])
        scores = good[SCORES].to_numpy() if SCORES in good.columns else None
        known = kept_rows(good.lazy(), np.arange(len(good)), scores, predictor.processor)
        reference = Reference(of_table(known))
    elif not reference.known:
        notes.append(NOTHING)
    lines = watched_rows(rows, reference, predictor.processor, asked)
    return judged(list(lines), asked.level), notes


def _of_requests(said: dict[str, str], asked: "Watching") -> tuple[list["Line"], list[str]]:
    """Of the log of a server."""
    import polars as pl

    from lightning_rec.monitoring.judging import judged
    from lightning_rec.monitoring.requests import watched

    lines, notes = _lines(said["log"]), list[str]()
    reference, version = _reference(said)
    if "reference" in said:
        reference = _of_log(reference, _lines(said["reference"]))
    elif not reference.known:
        notes.append(NOTHING)
    named = lines["model"].drop_nulls().unique().to_list()
    if named and version not in named:
        raise UserError(
            f"{said['log']}: other models answered, {listed(named)}, not {version}. Say model= as "
            "it was served: the run, or the bundle; each has a version of its own."
        )
    if len(named) > 1:
        lines = lines.filter((pl.col("model") == version) | pl.col("model").is_null())
        notes.append(f"Answers of other models are left out: {listed(set(named) - {version})}.")
    if lines["items"].null_count() == len(lines):
        notes.append("The log names no items: serve with log_items=true, and more is watched.")
    found = judged(list(watched(lines, reference, asked)), asked.level)
    missing = sorted(set(reference.known) - {line.name for line in found})
    if missing and reference.known:
        notes.append(f"Not in the log, or not in windows this short: {listed(missing, 20)}.")
    return found, notes


def _lines(value: str) -> Any:
    from lightning_rec.monitoring.requests import of_units
    from lightning_rec.rules.given import words
    from lightning_rec.trials.requests import WATCHED, lines_of

    return of_units(lines_of([Path(each) for each in words(value)], WATCHED))


def _reference(said: dict[str, str]) -> tuple["Reference", str]:
    """What the model is compared with, and its version."""
    from lightning_rec.monitoring.reference import reference_of

    model = _model(said)
    return reference_of(Path(said.get("model") or said["bundle"]), model.predictor), model.version


def _model(said: dict[str, str]) -> "Model":
    from lightning_rec.serving.opening import open_served

    return open_served(Path(said.get("model") or said["bundle"]))


def _of_log(reference: "Reference", lines: Any) -> "Reference":
    """Distributions of another log, in place of those of training."""
    from lightning_rec.monitoring.bins import distribution
    from lightning_rec.monitoring.reference import bins_of
    from lightning_rec.monitoring.requests import Watching, observed_in

    found = observed_in(lines, reference, Watching())
    known = {name: distribution(rows, bins_of(name)) for name, rows in found.items() if len(rows)}
    return reference._replace(known=known)


def show(lines: Sequence["Line"], level: float, *, every: bool) -> None:
    """Print the tables: what is judged, and what is told."""
    from lightning_rec.lab.statistics import p_value
    from lightning_rec.monitoring.judging import amount, named, state

    screen = Screen()
    window = text("window") if every else []
    judged = [line for line in lines if line.p is not None]
    if every:  # all of them are in the page and the JSON
        fine = sum(line.state == "ok" for line in judged)
        judged = [line for line in judged if line.state != "ok"]
    if judged:
        table = FittedTable(f"What moved ({percent(level)} intervals)", [
            *text("what"), *window, *figures("", "interval", "KS", "p (BH)", "users"),
            *text("", "most"),
        ], numbered=True)  # fmt: skip
        for line in judged:
            ks = "" if line.ks is None else f"{line.ks:.3f}"
            p = "" if line.adjusted is None else p_value(line.adjusted)
            table.add_row(
                named(line), *([line.window] if every else []), amount(line, line.value),
                f"{amount(line, line.low)} to {amount(line, line.high)}", ks, p,
                f"{line.units:,}", state(line), line.detail if line.warns else "",
            )  # fmt: skip
        screen.print(table)
    if every and fine:
        screen.print(f"{fine} lines are ok, and not shown.", highlight=False)
    others = [line for line in lines if line.p is None]
    if others:
        table = FittedTable("What else", [*text("what"), *window, *figures("", "of")])
        for line in others:
            own = [line.window] if every else []
            table.add_row(line.name, *own, amount(line, line.value), f"{line.units:,}")
        screen.print(table)


def sentences(lines: Sequence["Line"]) -> Iterable[str]:
    """What to look at, most of all first."""
    from lightning_rec.monitoring.judging import amount

    moved = sorted((line for line in lines if line.warns), key=lambda line: -line.value)
    few = sum(line.state == "few" for line in lines)
    for line in moved:
        when = "" if line.window == "all" else f" in the window of {line.window}"
        rest = f" (most: {line.detail})" if line.unit == "PSI" else f", limit {line.limit:.1%}"
        unit = " PSI" if line.unit == "PSI" else ""
        yield f"{line.name.replace('_', ' ')}{when}: {amount(line, line.value)}{unit}{rest}."
    if not moved:
        yield "Nothing moved." if not few else "Nothing that can be judged moved."
    if few:
        yield f"{few} lines have fewer than 30 users, and are not judged."
