"""What ``lightning-rec abtest`` tells before a test: users that it needs, and who gets which."""

from pathlib import Path

from lightning_rec.commands.asked import flag
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen


def shares_of(said: dict[str, str]) -> dict[str, float] | None:
    """``shares={a: 0.5, b: 0.5}`` as numbers; None where nothing is said."""
    if "shares" not in said:
        return None
    from lightning_rec.rules.given import pairs

    return {
        name: number("shares", str(share), float)
        for name, share in pairs("shares", said["shares"]).items()
    }


def level_of(said: dict[str, str]) -> float:
    """``level=0.95``. Raises UserError unless it is one of an interval."""
    level = number("level", said.get("level", "0.95"), float)
    if not 0.5 <= level < 1:
        raise UserError(f"level={level}: it has to be from 0.5 to below 1, such as 0.95.")
    return level


def positive(said: dict[str, str], name: str, default: str) -> float:
    """A number above 0. Raises UserError for any other."""
    found = number(name, said.get(name, default), float)
    if not 0 < found < float("inf"):
        raise UserError(f"{name}={said[name]}: it has to be above 0.")
    return found


def assign(said: dict[str, str]) -> int:
    """Write the variant of each user of a file. Raises UserError."""
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


def power_of(said: dict[str, str]) -> int:
    """Print how many users a test needs, or what it finds. Raises UserError."""
    from lightning_rec.trials.power import detectable, users_needed

    if "sd" not in said or not {"effect", "lift", "users"} & said.keys():
        raise UserError("--power needs sd= of the value, and effect=, lift= with mean=, or users=.")
    if "lift" in said and "mean" not in said:
        raise UserError("lift= is a share of a mean: say mean= of the control as well.")
    halves = list((shares_of(said) or {"a": 0.5, "b": 0.5}).values())
    if len(halves) != 2:
        raise UserError("--power is for two variants: say shares= of the two compared.")
    shares = (halves[0], halves[1])
    level, sd = level_of(said), positive(said, "sd", "1")
    power = positive(said, "power", "0.8")
    if power >= 1:
        raise UserError(f"power={power:g}: it has to be below 1, such as 0.8.")
    if "effect" in said or "lift" in said:
        effect = number("effect", said.get("effect", "0"), float)
        if "lift" in said:
            effect = number("lift", said["lift"], float) * number("mean", said["mean"], float)
        users = users_needed(effect, sd, shares, level=level, power=power)
        told = f"{users:,} users altogether show a difference of {effect:g}"
    else:
        number_of = positive(said, "users", "1")
        found = detectable(number_of, sd, shares, level=level, power=power)
        told = f"{number_of:,.0f} users show a difference of {found:.4g} or more"
    Screen().print(
        f"{told} in {power:.0%} of tests (two-sided, level {level:g}, sd {sd:g}).",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return 0
