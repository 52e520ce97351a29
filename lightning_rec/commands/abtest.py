"""``lightning-rec abtest``: what variants did to users, how many a test needs, who gets which."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.abtest_plan import assign, level_of, positive, power_of, shares_of
from lightning_rec.commands.asked import keys_of, nothing_else
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.figures import percent
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.trials import Test

HELP = """\
A/B tests: what variants did to users, with intervals, bounds against peeking
and a check that none were lost; how many users a test needs; who gets which.

usage: lightning-rec abtest log=FILE [value=COLUMN] [per=COLUMN] [control=NAME]
                            [covariate=COLUMN] [shares={a: 0.5, b: 0.5}]
                            [method=bootstrap] [level=0.95] [planned=USERS]
                            [looks=N] [experiment=NAME] [to=FILE.json]
       lightning-rec abtest --power effect=X sd=X [users=N] [power=0.8]
       lightning-rec abtest assign=FILE experiment=NAME shares={a: 0.5, b: 0.5}
                            --output FILE

log= is a table with a row or more for each user (user=, variant= say other
names of its columns), or the request log of 'serve' with its variants:
log=[a,b] for several servers. Of a request log value= is clicks (if nothing is
said), events, shown, lists or value. per= divides: value=clicks per=shown.
covariate= is a column of before (CUPED). planned= is for how many users the
always-valid interval is made, said before the first look; looks= gives group
sequential bounds as well.

--power takes effect=, or lift= of mean=; with users= it tells what is found.

Examples:
  lightning-rec abtest log=test.csv value=clicks per=impressions
  lightning-rec abtest log=requests.jsonl
  lightning-rec abtest --power lift=0.05 mean=0.2 sd=0.6
  lightning-rec abtest assign=users.csv experiment=spring \\
    'shares={a: 0.5, b: 0.5}' --output assigned.csv
"""
COLUMNS = ("user", "variant", "value", "per", "covariate")
OPTIONS = ("control", "shares", "method", "level", "planned", "looks", "experiment", "seed", "to")
POWER = ("effect", "lift", "mean", "sd", "users", "power")
OF_REQUESTS = ("clicks", "events", "shown", "lists", "value")


def run(arguments: list[str]) -> int:
    """Print what was asked for. Raises UserError on bad input."""
    wants_power = "--power" in arguments
    known = (*COLUMNS, *OPTIONS, *POWER, "log", "assign", "overwrite")
    words = [word for word in arguments if word != "--power"]
    said, others = keys_of(words, "abtest", known, ("--output",))
    nothing_else(others, "abtest")
    if wants_power:
        return power_of(said)
    if "assign" in said:
        return assign(said)
    if "log" not in said:
        raise UserError("Say what was logged: lightning-rec abtest log=FILE; or --power, assign=.")
    return _test(said)


def _test(said: dict[str, str]) -> int:
    from lightning_rec.files import write_json
    from lightning_rec.rules.given import words
    from lightning_rec.trials import compare_variants
    from lightning_rec.trials.requests import are_request_logs, of_experiment, read_requests, shown

    paths = [Path(each) for each in words(said["log"])]
    if are_request_logs(paths):
        requests = read_requests(paths)
        lists = of_experiment(requests, said.get("experiment"))
        if lists["teams"].null_count() < len(lists):
            return _preferred(shown(requests, lists), said)
        users, names = _of_requests(requests, lists, said)
    else:
        users, names = _of_table(paths, said)
    method = said.get("method", "delta")
    if method not in ("delta", "bootstrap"):
        raise UserError(f"method={method}: it is delta or bootstrap.")
    level = level_of(said)
    test = compare_variants(
        users,
        control=said.get("control"),
        per="per" if "per" in users.columns else None,
        covariate="covariate" if "covariate" in users.columns else None,
        shares=shares_of(said),
        method=method,  # type: ignore[arg-type]
        level=level,
        planned=positive(said, "planned", "10000"),
        seed=number("seed", said.get("seed", "0"), int),
    )
    _show(test, names, level)
    screen = Screen()
    for sentence in [*_sentences(test, level), *_looks(said, test, level)]:
        screen.print(sentence, highlight=False, soft_wrap=True)
    if "to" in said:
        write_json(Path(said["to"]), {"value": names, "level": level, **asdict(test)})
    return 1 if test.lost else 0


def _preferred(shown: Any, said: dict[str, str]) -> int:
    """Tell of two models in one list."""
    from lightning_rec.files import write_json
    from lightning_rec.lab.statistics import p_value
    from lightning_rec.trials.interleaving import preference

    names = shown["team"].drop_nulls().unique().sort().to_list()
    first = said.get("control", names[0])
    if first not in names or len(names) != 2:
        raise UserError(f"control={first}: the log has the teams {', '.join(names)}.")
    second = names[names[0] == first]
    found = preference(shown, first, second, level=level_of(said))
    Screen().print(
        f"{found.second:,} users prefer {second}, {found.first:,} prefer {first}, {found.ties:,} "
        f"neither. Of those who prefer one {found.share:.1%} [{found.low:.1%}, {found.high:.1%}] "
        f"prefer {second} (sign test, p {p_value(found.p)}).",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if "to" in said:
        write_json(Path(said["to"]), {"of": second, "beside": first, **asdict(found)})
    return 0


def _of_table(paths: Sequence[Path], said: dict[str, str]) -> tuple[Any, str]:
    """The users of a table, and what their figure is called."""
    from lightning_rec.trials.users import users_of

    if len(paths) != 1 or "value" not in said:
        which = "one table" if len(paths) != 1 else "value=COLUMN"
        raise UserError(f"log={said['log']} is no request log of 'serve': say {which}.")
    named = {name: said[name] for name in COLUMNS if name in said}
    return users_of(paths[0], **named), _named(said["value"], said.get("per"))


def _of_requests(requests: Any, lists: Any, said: dict[str, str]) -> tuple[Any, str]:
    import polars as pl

    from lightning_rec.trials.requests import users_of_requests

    value, per = said.get("value", "clicks"), said.get("per")
    for name in filter(None, (value, per)):
        if name not in OF_REQUESTS:
            raise UserError(f"{name}: of a request log it is one of {', '.join(OF_REQUESTS)}.")
    users = users_of_requests(requests, lists)
    columns = {"value": pl.col(value)} | ({"per": pl.col(per)} if per else {})
    if users["before"].sum():
        columns["covariate"] = pl.col("before")
    return users.select("user", "variant", **columns), _named(value, per)


def _named(value: str, per: str | None) -> str:
    return f"{value} per {per}" if per else f"{value} per user"


def _show(test: "Test", name: str, level: float) -> None:
    from lightning_rec.lab.statistics import p_value, places, signed

    screen = Screen()
    less = ["by CUPED"] if test.kept is not None else []
    arms = FittedTable("", [*text("variant"), *figures("users", name, *less, "sd")])
    for arm in test.arms:
        means = [f"{each:.{places(arm.error)}f}" for each in (arm.plain, arm.mean)]
        arms.add_row(arm.variant, f"{arm.users:,}", *means[: 1 + len(less)], f"{arm.sd:.4g}")
    screen.print(arms)
    many = len(test.effects) > 1
    heads = ("difference", "p", *(("p (Holm)",) if many else ()), "lift")
    effects = FittedTable(f"Less {test.arms[0].variant}, {percent(level)} intervals", [
        *text("variant"), *figures(*heads),
    ])  # fmt: skip
    any_look = FittedTable(f"The same, at any look (always-valid {percent(level)} intervals)", [
        *text("variant"), *figures("difference", "p"),
    ])  # fmt: skip
    for each in test.effects:
        lift = "-"
        if each.lift is not None and each.lift_low is not None and each.lift_high is not None:
            lift = f"{each.lift:+.1%} [{each.lift_low:+.1%}, {each.lift_high:+.1%}]"
        any_look.add_row(
            each.variant, signed(each.difference, each.always.low, each.always.high),
            p_value(each.always.p),
        )  # fmt: skip
        effects.add_row(
            each.variant, signed(each.difference, each.low, each.high), p_value(each.p),
            *((p_value(each.holm),) if many else ()), lift,
        )  # fmt: skip
    screen.print(effects)
    screen.print(any_look)


def _sentences(test: "Test", level: float) -> Iterable[str]:
    from lightning_rec.lab.statistics import p_value

    control, alpha = test.arms[0].variant, round(1 - level, 12)
    if test.kept is not None:
        yield (
            f"CUPED left {test.kept:.0%} of the variance: what was so before the experiment is "
            "taken off, and differences are of the means by CUPED."
        )
    counts = ", ".join(f"{arm.variant} {arm.users:,}" for arm in test.arms)
    counts += f"; chi-square p {p_value(test.ratio_p)}"
    if test.lost:
        yield (
            f"The shares are wrong ({counts}): users were lost "
            "or counted twice in one variant. No effect of this log can be trusted: find out why."
        )
        return
    yield f"The shares are as drawn ({counts})."
    for each in test.effects:
        now, ever = each.holm < alpha, each.always.p < alpha
        if ever:
            yield f"{each.variant} differs from {control}, however often this log was looked at."
        elif now:
            yield (
                f"{each.variant} differs from {control} if this is the only look, planned before; "
                "at any look it may be noise."
            )
        else:
            yield f"{each.variant} may be the same as {control}."


def _looks(said: dict[str, str], test: "Test", level: float) -> Iterable[str]:
    if "looks" not in said:
        return
    from lightning_rec.trials.sequential import bounds

    looks = number("looks", said["looks"], int)
    if not 1 <= looks <= 50:
        raise UserError(f"looks={looks}: it is from 1 to 50.")
    for kind, title in (("obrien_fleming", "O'Brien and Fleming"), ("pocock", "Pocock")):
        found = ", ".join(f"{each:.3f}" for each in bounds(looks, kind, level))  # type: ignore[arg-type]
        yield f"{title}: stop at look 1, 2, ... if |difference| / error is above {found}."
    for each in test.effects:
        if each.error > 0:
            yield f"That of {each.variant} is {abs(each.difference) / each.error:.3f} now."
