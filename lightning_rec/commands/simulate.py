"""``lightning-rec simulate``: a world whose truth is known, and a server that is tried in it."""

import os
from pathlib import Path
from typing import Any

from lightning_rec.commands.asked import flag, keys_of, nothing_else
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError, suggest
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
Try models on made-up users whose tastes are known: users visit a running server,
look at places of its lists, and click by chances that only the simulator knows.
So the estimates of 'abtest' and 'offpolicy' can be held against the truth.

usage: lightning-rec simulate world to=FOLDER [seed=0] [users=1000] [items=200]
                              [days=30] [new_users=5] [new_items=1] [drift=0.1]
                              [feedback=0.2] [examination=1] [KEY=VALUE]
       lightning-rec simulate play world=FOLDER url=http://HOST:PORT to=FOLDER
                              [days=7] [k=5] [explore=epsilon:0.2] [pool=N]
       lightning-rec simulate value world=FOLDER policy=FILE [after=true]
                              [to=FILE.json]
       lightning-rec simulate effect plays={a: FOLDER, b: FOLDER}
                              [found=FILE.json] [to=FILE.json]

'world' writes log.parquet and items.parquet to train on, and the truth beside.
'play' asks /recommend for whoever visits, draws clicks, and sends them to
/events; its folder is a world that is days= older, with outcomes.parquet.
'value' is the true mean of clicks under a policy: after a play on its requests
(beside 'offpolicy'), else, or with after=true, on the next visit of all users.
'effect' is the true difference of two models that were each played for everybody
from one world on, and whether the interval of 'abtest to=' holds it.

LIGHTNING_REC_KEY is the key, where the server wants one.

Examples:
  lightning-rec simulate world to=world seed=1
  lightning-rec simulate play world=world url=http://127.0.0.1:8000 to=week1
  lightning-rec simulate value world=week1 policy=recs.parquet
"""
PARTS = ("world", "play", "value", "effect")


def run(arguments: list[str]) -> int:
    """Make, play or tell. Raises UserError on bad input."""
    part, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if part not in PARTS:
        told = suggest(part, PARTS) if part else f" There are: {', '.join(PARTS)}."
        raise UserError(f"Say what to simulate, such as simulate world to=FOLDER.{told}")
    return {"world": _world, "play": _play, "value": _value, "effect": _effect}[part](rest)


def _said(
    words: list[str], part: str, known: tuple[str, ...], needs: tuple[str, ...]
) -> dict[str, str]:
    said, others = keys_of(words, f"simulate {part}", known)
    nothing_else(others, f"simulate {part}")
    if missing := [name for name in needs if name not in said]:
        raise UserError(f"simulate {part} needs {missing[0]}= as well; see --help.")
    return said


def _print(sentence: str) -> None:
    Screen().print(sentence, highlight=False, soft_wrap=True)


def _world(words: list[str]) -> int:
    from lightning_rec.simulation import Settings, World, make_log
    from lightning_rec.simulation.folders import free, write

    said = _said(words, "world", ("to", *Settings.model_fields), ("to",))
    folder = Path(said.pop("to"))
    free(folder)
    world = World(Settings.of(said))
    log, days = make_log(world), world.settings.days
    write(folder, world, days, log)
    _print(
        f"{folder}: {len(log):,} events of {log['user'].n_unique():,} users with "
        f"{log['item'].n_unique():,} items in {days:,} days."
    )
    return 0


def _play(words: list[str]) -> int:
    from lightning_rec.files import sha256_file, sha256_json
    from lightning_rec.rules.rules import Rules
    from lightning_rec.simulation import play
    from lightning_rec.simulation.folders import free, read, write
    from lightning_rec.simulation.playing import summary
    from lightning_rec.simulation.server import Server

    known = ("world", "url", "to", "days", "k", "explore", "pool")
    said = _said(words, "play", known, ("world", "url", "to"))
    days, k = number("days", said.get("days", "7"), int), number("k", said.get("k", "5"), int)
    if not (1 <= days <= 10_000 and 1 <= k <= 100):
        raise UserError("days= is from 1 to 10,000, k= from 1 to 100.")
    rules: dict[str, Any] = {"explore": said["explore"]} if "explore" in said else {}
    if "pool" in said:
        rules["pool"] = number("pool", said["pool"], int)
    Rules(**rules)  # refuses what is none
    folder, source = Path(said["to"]), Path(said["world"])
    free(folder)
    kept = read(source)
    same = sha256_json([kept.world.settings.model_dump(), sha256_file(source / "log.parquet")])
    about = {"world": same, "first": kept.days, "days": days, "k": k, **rules}
    name = f"{folder.name} {same[:12]}"
    shop = Server(said["url"], rules, os.environ.get("LIGHTNING_REC_KEY"), name)
    played = play(kept.world, kept.log, kept.days, days, shop, k)
    write(folder, kept.world, kept.days + days, played.log, played, about)
    table = FittedTable(f"What {days:,} days were", [
        *text("variant"), *figures("users", "requests", "refused", "clicks", "clicks expected",
                                   "by request", "by user"),
    ])  # fmt: skip
    for variant, row in summary(played.requests).items():
        counts = (f"{row[each]:,}" for each in ("users", "requests", "refused", "clicks"))
        means = (f"{row[each]:.4f}" for each in ("by_request", "by_user"))
        table.add_row(variant, *counts, f"{row['expected']:,.1f}", *means)
    Screen().print(table)
    return 0


def _value(words: list[str]) -> int:
    from lightning_rec.files import write_json
    from lightning_rec.simulation.folders import read
    from lightning_rec.simulation.values import value_of

    said = _said(words, "value", ("world", "policy", "after", "to"), ("world", "policy"))
    after = flag(said, "after")
    found = value_of(read(Path(said["world"])), Path(said["policy"]), after=after)
    _print(
        f"The true mean is {found.row:.5f} clicks a place and {found.request:.4f} a list, over "
        f"{found.rows:,} places of {found.requests:,} lists."
    )
    if found.had:
        _print(f"{found.had:.1%} of them have an item that the user has had: nobody clicks it.")
    if found.left_out:
        _print(f"{found.left_out:,} places were left out: the policy says nothing of them.")
    if "to" in said:
        write_json(Path(said["to"]), found._asdict())
    return 0


def _effect(words: list[str]) -> int:
    from lightning_rec.files import write_json
    from lightning_rec.rules.given import pairs
    from lightning_rec.simulation.values import effect_of

    said = _said(words, "effect", ("plays", "found", "to"), ("plays",))
    plays = {name: Path(folder or "") for name, folder in pairs("plays", said["plays"]).items()}
    truth = effect_of(plays, Path(said["found"]) if "found" in said else None)
    (one, other), figure = truth.names, truth.figures
    _print(
        f"If everybody had it: {one} {figure[0]:.4f}, {other} {figure[1]:.4f} clicks per "
        f"{truth.per}, a difference of {truth.difference:+.4f}."
    )
    if truth.interval is not None:
        low, high = truth.interval
        told = "holds it" if truth.inside else "does not hold it"
        _print(f"The interval [{low:+.4f}, {high:+.4f}] {told}.")
    if "to" in said:
        write_json(Path(said["to"]), truth._asdict())
    return 0
