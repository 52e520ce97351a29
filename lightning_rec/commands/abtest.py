"""``lightning-rec abtest``: what variants did to users, how many a test needs, who gets which."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.commands.asked import flag, keys_of, nothing_else, pairs_of
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

if TYPE_CHECKING:
    from lightning_rec.trials import Test

HELP = """\
A/B tests: what variants did to users, with intervals, bounds against peeking
and a check that no users were lost; how many users a test needs; who gets which.

usage: lightning-rec abtest log=FILE [value=COLUMN] [per=COLUMN] [control=NAME]
                            [covariate=COLUMN] [shares={a: 0.5, b: 0.5}]
                            [method=bootstrap] [level=0.95] [planned=USERS]
                            [looks=N] [experiment=NAME] [to=FILE.json]
       lightning-rec abtest --power effect=X sd=X [users=N] [power=0.8]
       lightning-rec abtest assign=FILE experiment=NAME shares={a: 0.5, b: 0.5}
                            --output FILE

log= is a table with a row or more for each user (user=, variant= say other names
of its columns), or the request log of 'serve' with its variants: log=[a,b] for
several servers. Of a request log value= is clicks (if nothing is said), events,
shown or lists. per= divides: value=clicks per=shown. covariate= is a column of
before (CUPED). planned= is for how many users the always-valid interval is made,
said before the first look; looks= gives group sequential bounds as well.

--power takes effect=, or lift= of mean=; with users= it tells what can be found.

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
OF_REQUESTS = ("clicks", "events", "shown", "lists")


def run(arguments: list[str]) -> int:
    """Print what was asked for. Raises UserError on bad input."""
    wants_power = "--power" in arguments
    known = (*COLUMNS, *OPTIONS, *POWER, "log", "assign", "overwrite")
    words = [word for word in arguments if word != "--power"]
    said, others = keys_of(words, "abtest", known, ("--output",))
    nothing_else(others, "abtest")
    if wants_power:
        return _power(said)
    if "assign" in said:
        return _assign(said)
    if "log" not in said:
        raise UserError("Say what was logged: lightning-rec abtest log=FILE; or --power, assign=.")
    return _test(said)


def shares_of(said: dict[str, str]) -> dict[str, float] | None:
    """``shares={a: 0.5, b: 0.5}`` as numbers; None where nothing is said."""
    if "shares" not in said:
        return None
    return {
        name: number("shares", str(share), float)
        for name, share in pairs_of("shares", said["shares"]).items()
    }


def _level(said: dict[str, str]) -> float:
    level = number("level", said.get("level", "0.95"), float)
    if not 0.5 <= level < 1:
        raise UserError(f"level={level}: it has to be from 0.5 to below 1, such as 0.95.")
    return level


def _positive(said: dict[str, str], name: str, default: str) -> float:
    found = number(name, said.get(name, default), float)
    if not 0 < found < float("inf"):
        raise UserError(f"{name}={said[name]}: it has to be above 0.")
    return found


def _assign(said: dict[str, str]) -> int:
    from lightning_rec.answers.files import check_output, write_table
    from lightning_rec.rules.given import table
    from lightning_rec.trials import Assignment

    if missing := [name for name in ("experiment", "shares", "--output") if name not in said]:
        raise UserError(f"assign= needs {missing[0]} as well; see --help.")
    output = Path(said["--output"])
    check_output(output, overwrite=flag(said, "overwrite"))
    column = said.get("user", "user")
    users = table(Path(said["assign"]), column)
    made = Assignment(said["experiment"], shares_of(said) or {})
    found = users.with_columns(made.of_all(users[column]))
    write_table(found.lazy(), output)
    counts = found.group_by("variant").len().sort("variant", nulls_last=True)
    told = [f"{name or 'none'} {count:,}" for name, count in counts.iter_rows()]
    Screen().print(f"{output}: {', '.join(told)}.", highlight=False, soft_wrap=True)
    return 0


def _power(said: dict[str, str]) -> int:
    from lightning_rec.trials.power import detectable, users_needed

    if "sd" not in said or not {"effect", "lift", "users"} & said.keys():
        raise UserError("--power needs sd= of the value, and effect=, lift= with mean=, or users=.")
    if "lift" in said and "mean" not in said:
        raise UserError("lift= is a share of a mean: say mean= of the control as well.")
    halves = list((shares_of(said) or {"a": 0.5, "b": 0.5}).values())
    if len(halves) != 2:
        raise UserError("--power is for two variants: say shares= of the two compared.")
    shares = (halves[0], halves[1])
    level, sd = _level(said), _positive(said, "sd", "1")
    power = _positive(said, "power", "0.8")
    if power >= 1:
        raise UserError(f"power={power:g}: it has to be below 1, such as 0.8.")
    if "effect" in said or "lift" in said:
        effect = number("effect", said.get("effect", "0"), float)
        if "lift" in said:
            effect = number("lift", said["lift"], float) * number("mean", said["mean"], float)
        users = users_needed(effect, sd, shares, level=level, power=power)
        told = f"{users:,} users altogether show a difference of {effect:g}"
    else:
        number_of = _positive(said, "users", "1")
        found = detectable(number_of, sd, shares, level=level, power=power)
        told = f"{number_of:,.0f} users show a difference of {found:.4g} or more"
    Screen().print(
        f"{told} in {power:.0%} of tests (two-sided, level {level:g}, sd {sd:g}).",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return 0


def _test(said: dict[str, str]) -> int:
    from lightning_rec.files import write_json
    from lightning_rec.trials import compare_variants

    users, names = _users(said)
    method = said.get("method", "delta")
    if method not in ("delta", "bootstrap"):
        raise UserError(f"method={method}: it is delta or bootstrap.")
    level = _level(said)
    test = compare_variants(
        users,
        control=said.get("control"),
        per="per" if "per" in users.columns else None,
        covariate="covariate" if "covariate" in users.columns else None,
        shares=shares_of(said),
        method=method,  # type: ignore[arg-type]
        level=level,
        planned=_positive(said, "planned", "10000"),
        seed=number("seed", said.get("seed", "0"), int),
    )
    _show(test, names, level)
    screen = Screen()
    for sentence in [*_sentences(test, level), *_looks(said, test, level)]:
        screen.print(sentence, highlight=False, soft_wrap=True)
    if "to" in said:
        write_json(Path(said["to"]), {"value": names, "level": level, **asdict(test)})
    return 1 if test.lost else 0


def _users(said: dict[str, str]) -> tuple[Any, str]:
    """The users of a table or of request logs, and what their figure is called."""
    import polars as pl

    from lightning_rec.rules.given import words
    from lightning_rec.trials.requests import is_request_log, read_requests, users_of_requests
    from lightning_rec.trials.users import users_of

    paths = [Path(each) for each in words(said["log"])]
    value = said.get("value")
    if not all(map(is_request_log, paths)):
        if len(paths) > 1 or value is None:
            which = "one table" if len(paths) > 1 else "value=COLUMN"
            raise UserError(f"log={said['log']} is no request log of 'serve': say {which}.")
        named = {name: said[name] for name in COLUMNS if name in said}
        return users_of(paths[0], **named), _named(value, said.get("per"))
    value, per = value or "clicks", said.get("per")
    for name in filter(None, (value, per)):
        if name not in OF_REQUESTS:
            raise UserError(f"{name}: of a request log it is one of {', '.join(OF_REQUESTS)}.")
    users = users_of_requests(read_requests(paths), said.get("experiment"))
    columns = {"value": pl.col(value)} | ({"per": pl.col(per)} if per else {})
    if users["before"].sum():
        columns["covariate"] = pl.col("before")
    return users.select("user", "variant", **columns), _named(value, per)


def _named(value: str, per: str | None) -> str:
    return f"{value} per {per}" if per else f"{value} per user"


def _show(test: "Test", name: str, level: float) -> None:
    from lightning_rec.lab.statistics import p_value, places, signed

    screen = Screen()
    arms = FittedTable("", [*text("variant"), *figures("users", name, "sd")])
    for arm in test.arms:
        mean = f"{arm.mean:.{places(arm.error)}f}"
        arms.add_row(arm.variant, f"{arm.users:,}", mean, f"{arm.sd:.4g}")
    screen.print(arms)
    many = len(test.effects) > 1
    heads = ("difference", "p", *(("p (Holm)",) if many else ()), "lift")
    effects = FittedTable(f"Less {test.arms[0].variant}, {level:.0%} intervals", [
        *text("variant"), *figures(*heads),
    ])  # fmt: skip
    any_look = FittedTable(f"The same, at any look (always-valid {level:.0%} intervals)", [
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
        yield f"CUPED left {test.kept:.0%} of the variance."
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
