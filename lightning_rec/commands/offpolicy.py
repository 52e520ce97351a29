"""``lightning-rec offpolicy``: what another policy would have earned, from a log with chance."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.abtest_plan import level_of, positive
from lightning_rec.commands.asked import keys_of, nothing_else
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.figures import percent
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.trials.bandits import OffPolicy

HELP = """\
What another policy would have earned, from the log of one that left a part to
chance and wrote down the probability of what it did.

usage: lightning-rec offpolicy log=FILE policy=FILE|target=COLUMN
                     [action=item] [reward=click] [propensity=propensity]
                     [unit=user] [list=COLUMN rank=COLUMN] [features=[A,B]]
                     [clip=W] [method=bootstrap] [level=0.95] [to=FILE.json]

log= is a table with a row for each action, or the request log of 'serve' whose
rules explore (log=[a,b] of several servers). The policy is a column of the log
with its probability of what was done, or a table of actions with their
'probability' (1 where there is none: the lists of 'recommend --output'), and
as context whatever other columns the log has as well.

It tells the mean of the log, IPS and SNIPS, and with policy= the direct method
and the doubly robust one, by a regression on action and features=. clip= is the
largest weight that is used. Rows of one unit= go together. list= and rank= are
of actions chosen one after another: weights are products down the list.

Examples:
  lightning-rec offpolicy log=bandit.csv policy=new.csv features=[position,age]
  lightning-rec offpolicy log=requests.jsonl policy=recs.parquet clip=20
"""
COLUMNS = ("action", "reward", "propensity", "target", "unit", "list", "rank")
USUAL = {"action": "item", "reward": "click", "propensity": "propensity"}
OPTIONS = ("log", "policy", "features", "clip", "method", "level", "seed", "to")
RESERVED = ("unit", "list", "target", "expected", "predicted")
TITLES = {"log": "the log itself", "ips": "IPS", "snips": "SNIPS", "dm": "direct method",
          "dr": "doubly robust"}  # fmt: skip


def run(arguments: list[str]) -> int:
    """Print the estimates. Raises UserError on bad input."""
    said, others = keys_of(arguments, "offpolicy", (*COLUMNS, *OPTIONS))
    nothing_else(others, "offpolicy")
    if "log" not in said or ("policy" in said) == ("target" in said):
        raise UserError("Say log=FILE, and either policy=FILE or target=COLUMN of the log.")
    if ("list" in said) != ("rank" in said):
        raise UserError("list= and rank= go together: the list of a row, and its place in it.")
    method = said.get("method", "delta")
    if method not in ("delta", "bootstrap"):
        raise UserError(f"method={method}: it is delta or bootstrap.")
    level, seed = level_of(said), number("seed", said.get("seed", "0"), int)
    clip = positive(said, "clip", "1") if "clip" in said else None
    from lightning_rec.files import write_json
    from lightning_rec.trials.bandits import off_policy

    rows, left_out = _rows(said, seed)
    found = off_policy(rows, clip=clip, method=method, level=level, seed=seed)  # type: ignore[arg-type]
    _show(found, level)
    screen = Screen()
    for sentence in _sentences(found, left_out, clip):
        screen.print(sentence, highlight=False, soft_wrap=True)
    if "to" in said:
        write_json(Path(said["to"]), {"level": level, "clip": clip, **asdict(found)})
    return 0


def _rows(said: dict[str, str], seed: int) -> tuple[Any, int]:
    """The rows with what the policy makes of them, and how many it says nothing of."""
    from lightning_rec.rules.given import words
    from lightning_rec.trials.logged import joined, logged_requests, logged_table, read_policy
    from lightning_rec.trials.requests import are_request_logs, read_requests
    from lightning_rec.trials.rewards import with_rewards

    paths = [Path(each) for each in words(said["log"])]
    features = words(said.get("features", "[]"))
    if is_requests := are_request_logs(paths):
        if own := [name for name in (*COLUMNS, "features") if name in said]:
            raise UserError(f"{own[0]}= is of other tables: a request log has its own columns.")
        log, action = logged_requests(read_requests(paths))
    elif len(paths) > 1:
        raise UserError(f"log={said['log']}: several files are taken of request logs alone.")
    else:
        columns = USUAL | {name: said[name] for name in COLUMNS if name in said}
        log, action = logged_table(paths[0], columns, features)
    # Columns of a table that are called so by chance are none of these.
    by_chance = set() if is_requests else {*RESERVED} - said.keys()
    if "policy" not in said:
        return log.drop(by_chance, strict=False), 0
    policy = read_policy(Path(said["policy"]), log, action)
    rows = joined(log, policy).drop(by_chance - {"target"}, strict=False)
    if not len(rows):
        raise UserError(f"{said['policy']} knows no context of the log: are its ids those of it?")
    if not is_requests and "list" not in said:
        rows = with_rewards(rows, policy.table, policy.context, features, seed)
    return rows, len(log) - len(rows)


def _show(found: "OffPolicy", level: float) -> None:
    from lightning_rec.lab.statistics import places

    table = FittedTable(f"Mean reward of a row, {percent(level)} intervals", [
        *text("by"), *figures("estimate", "from", "to"),
    ])  # fmt: skip
    digits = max(places(each.error or 1.0) for each in found.estimates)
    for each in found.estimates:
        ends = ("-", "-")  # of a model alone: how wrong it is, the log does not say
        if each.name != "dm":
            ends = (f"{each.low:.{digits}f}", f"{each.high:.{digits}f}")
        table.add_row(TITLES[each.name], f"{each.value:.{digits}f}", *ends)
    Screen().print(table)


def _sentences(found: "OffPolicy", left_out: int, clip: float | None) -> Iterable[str]:
    units = f" of {found.units:,} units" if found.units < found.rows else ""
    few = found.effective < 100
    yield (
        f"{found.rows:,} rows{units} are worth {found.effective:,.0f} of the policy's own; the "
        f"largest weight is {found.largest:,.1f}."
        + " That is few: intervals so made are too narrow where single rows decide."
        * few
    )
    if found.clipped:
        yield f"{found.clipped:.1%} of the weights were cut to {clip:g}, which leans to the log."
    if left_out:
        yield f"{left_out:,} rows were left out: the policy has nothing for their context."
    if found.doubtful:
        yield (
            f"The weights average {found.weight:.3f} (standard error {found.weight_error:.3f}) in "
            "place of 1: propensities are wrong, or the policy does what the log never has."
        )
