"""What estimates say beside the truth, in several simulated worlds: ``python`` this file FOLDER.

``examples/simulation/run.sh`` makes and plays a world of each seed against real servers; many small
worlds without a server say how often intervals hold the truth. ``--check`` says whether the tables
of README.md are those of results.json.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.files import write_json, write_text
from lightning_rec.simulation import Answer, Settings, World, make_log, play
from lightning_rec.simulation.playing import Told, summary
from lightning_rec.trials import Assignment, compare_variants

HERE = Path(__file__).parent
SCRIPT = HERE.parent.parent / "examples" / "simulation" / "run.sh"
SEEDS = range(1, 6)
WORLDS = 200
K = 3


class Lists:
    """A shop without a server: a fixed order of items for each user, by variant."""

    def __init__(self, orders: dict[str, Any], assignment: Assignment | None = None) -> None:
        self.orders, self.assignment = orders, assignment

    def ask(self, users: Sequence[str], k: int, seed: int) -> list[Answer]:
        """See :class:`lightning_rec.simulation.Shop`."""
        of = [self.assignment.of(user) if self.assignment else None for user in users]
        rows = [
            self.orders[v or next(iter(self.orders))][int(u[1:])]
            for u, v in zip(users, of, strict=True)
        ]
        return [
            Answer([f"i{c}" for c in row[:k]], None, v) for row, v in zip(rows, of, strict=True)
        ]

    def tell(self, events: Sequence[Told]) -> None:
        """Nothing is kept."""


def small(seed: int, feedback: float) -> dict[str, bool | float]:
    """One small world: whether intervals of an A/B and an A/A test hold the truth."""
    said = {"users": 150, "items": 30, "days": 3, "dim": 4, "activity": 0.5, "new_users": 2}
    world = World(Settings.of(said | {"seed": seed, "feedback": feedback}))
    log, last = make_log(world), 3 + 5
    match = world.tastes(last) @ world.catalogue(0)[1].T
    noise = np.random.default_rng(seed).standard_normal(match.shape)
    popular = log.filter(pl.col("item").str.slice(1).cast(pl.Int64) < 30)["item"].value_counts(
        sort=True
    )
    best = np.array([int(item[1:]) for item in popular["item"]])
    orders = {"a": np.tile(best, (len(match), 1)), "b": np.argsort(-(match + 3 * noise), 1)}
    alone = {
        n: summary(play(world, log, 3, 5, Lists({n: orders[n]}), K).requests)["all"] for n in orders
    }
    truth = alone["b"]["by_user"] - alone["a"]["by_user"]
    found: dict[str, bool | float] = {"truth": truth}
    for name, by, true in (
        ("ab", orders, truth),
        ("aa", {"a": orders["a"], "b": orders["a"]}, 0.0),
    ):
        of = Assignment(f"{name} {seed}", {"a": 0.5, "b": 0.5})
        requests = play(world, log, 3, 5, Lists(by, of), K).requests
        users = requests.group_by("user", "variant").agg(value=pl.col("clicks").sum())
        effect = compare_variants(users).effects[0]
        found[name] = effect.low <= true <= effect.high
        found[f"{name} off"] = effect.difference - true
    return found


def many(feedback: float) -> dict[str, float]:
    """Of many small worlds: how many intervals hold the truth, and the mean error of estimates."""
    found = [small(seed, feedback) for seed in range(1000, 1000 + WORLDS)]
    off = np.array([each["ab off"] for each in found])
    return {
        "feedback": feedback, "worlds": WORLDS,
        "ab": int(sum(each["ab"] for each in found)), "aa": int(sum(each["aa"] for each in found)),
        "true effect": float(np.mean([each["truth"] for each in found])),
        "off": float(off.mean()), "off error": float(off.std(ddof=1) / len(off) ** 0.5),
    }  # fmt: skip


def world_of(seed: int, folder: Path) -> dict[str, Any]:
    """Play a world with real servers, unless that was done, and read what was found."""
    place = folder / str(seed)
    if not (place / "found" / "later_anew.json").exists():
        line = [str(SCRIPT), str(seed), str(place)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (folder / f"{seed}.log").open("w") as log:
            subprocess.run(
                line, check=True, stdout=log, stderr=log, env=os.environ | {"PATH": path}
            )
    read = {path.stem: json.loads(path.read_text()) for path in (place / "found").glob("*.json")}
    return {"seed": seed, **dict(sorted(read.items()))}


def table(results: dict[str, Any]) -> str:
    """The tables of the page."""
    lines = [
        "| world | true effect (clicks a user) | A/B test | | A/A test | |",
        "|---|---:|---:|---|---:|---|",
    ]
    for each in results["worlds"]:
        cells = []
        for name in ("ab", "aa"):
            effect, truth = each[name]["effects"][0], each[f"{name}_effect"]
            held = "holds" if truth["inside"] else "does not hold"
            cells += [
                f"{effect['difference']:+.2f} [{effect['low']:+.2f}, {effect['high']:+.2f}]",
                held,
            ]
        truth = each["ab_effect"]["difference"]
        lines.append(f"| {each['seed']} | {truth:+.2f} | {' | '.join(cells)} |")
    lines += [
        "",
        "| world | policy | truth | IPS | SNIPS | doubly robust | worth | had |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in results["worlds"]:
        for policy in ("seq", "pop"):
            truth, off = each[f"true_{policy}"], each[f"off_{policy}"]
            by = {one["name"]: one for one in off["estimates"]}
            cells = [
                f"{by[n]['value']:.2f} [{by[n]['low']:.2f}, {by[n]['high']:.2f}]"
                for n in ("ips", "snips", "dr")
            ]
            lines.append(
                f"| {each['seed']} | {policy} | {truth['row']:.3f} | {' | '.join(cells)} | "
                f"{off['effective']:,.0f} | {truth['had']:.1%} |"
            )
    lines += [
        "",
        "| world | pop | seq, as it was | updated | trained anew |",
        "|---|---:|---:|---:|---:|",
    ]
    for each in results["worlds"]:
        values = [f"{each[f'later_{n}']['request']:.3f}" for n in ("pop", "seq", "updated", "anew")]
        lines.append(f"| {each['seed']} | {' | '.join(values)} |")
    lines += [
        "",
        "| feedback | worlds | A/B holds | A/A holds | true effect | estimates less truth |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for each in results["many"]:
        ab, aa = (f"{each[name] / each['worlds']:.1%}" for name in ("ab", "aa"))
        lines.append(
            f"| {each['feedback']:g} | {each['worlds']} | {ab} | {aa} | "
            f"{each['true effect']:+.3f} | {each['off']:+.3f} ± {each['off error']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Play what is missing, and write results.json and the tables of README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--check", action="store_true")
    said = parser.parse_args()
    page, results = HERE / "README.md", HERE / "results.json"
    if said.folder is not None:
        said.folder.mkdir(parents=True, exist_ok=True)
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        began = time.time()
        worlds = [world_of(seed, said.folder.resolve()) for seed in SEEDS]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        found = {"commit": commit.stdout.strip(), "at": now, "worlds": worlds}
        found["many"] = [many(feedback) for feedback in (0.0, 1.0)]
        spent = sum(
            sum(resource.getrusage(who)[:2])
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        write_json(
            results,
            found | {"seconds": round(time.time() - began), "processor seconds": round(spent)},
        )
    text = page.read_text(encoding="utf-8")
    made = table(json.loads(results.read_text(encoding="utf-8")))
    new = re.sub(
        r"(<!-- rows:start -->\n).*(<!-- rows:end -->)",
        lambda m: f"{m[1]}{made}\n{m[2]}",
        text,
        flags=re.S,
    )
    if said.check and new != text:
        raise SystemExit(f"{page} is not the table of {results}: say python {Path(__file__).name}")
    if not said.check:
        write_text(page, new)


if __name__ == "__main__":
    main()
