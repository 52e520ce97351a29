"""One policy's clicks from the other's log, beside its own: ``python`` this file.

Saito, Aihara, Matsutani & Narita, "Open Bandit Dataset and Pipeline" (2021), section 5, on the
slice of the data that the package archive obp==0.4.1 carries. ``--check`` says whether the table of
README.md is that of results.json.
"""

import argparse
import json
import re
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.data.ids import ids_of
from lightning_rec.data.sources.open_bandit import OPEN_BANDIT, PRIOR, OpenBandit
from lightning_rec.documents import read_yaml
from lightning_rec.files import write_json, write_text
from lightning_rec.trials.bandits import off_policy
from lightning_rec.trials.logged import Policy, joined
from lightning_rec.trials.rewards import with_rewards

HERE = Path(__file__).parent
DRAWS = 100_000  # of Thompson sampling, as the paper's own code makes
FEATURES = ["position", *(f"user_feature_{number}" for number in range(4))]
CAMPAIGNS = ("all", "men", "women")


def impressions(campaign: str, policy: str) -> pl.DataFrame:
    """The log of a policy, as the estimators read it."""
    node = read_yaml(config.config_dir() / "data" / "open_bandit.yaml")
    said = OmegaConf.create(node | {"campaign": campaign, "policy": policy})
    source: OpenBandit = config.build("data", said)
    rows = source.read(source.files()).collect()
    keys = [ids_of(rows["item"]).alias("action"), ids_of(rows["position"]).alias("in position")]
    return rows.with_columns(*keys, reward=pl.col("click").cast(pl.Float64))


def table_of(probability: np.ndarray) -> Policy:
    """A policy of probabilities by position and item, float [3, items]."""
    position, item = np.indices(probability.shape).reshape(2, -1)
    columns = {
        "in position": (position + 1).astype(str),
        "action": item.astype(str),
        "probability": probability.ravel(),
    }
    return Policy(pl.DataFrame(columns), ["in position"])


def thompson(campaign: str, seed: int = 0) -> np.ndarray:
    """How probable each item is in each position, from the prior that the shop began with."""
    file = next(path for path in OPEN_BANDIT.files() if path.name == Path(PRIOR).name)
    prior = read_yaml(file)[campaign]
    alpha, beta = np.array(prior["alpha"]), np.array(prior["beta"])
    chance = np.random.default_rng(seed)
    draws = (chance.beta(alpha, beta, (1000, len(alpha))) for _ in range(DRAWS // 1000))
    best = np.concatenate([np.argsort(-each)[:, :3] for each in draws])
    counts = [np.bincount(best[:, place], minlength=len(alpha)) for place in range(3)]
    return np.stack(counts) / DRAWS


def shown(log: pl.DataFrame, items: int) -> np.ndarray:
    """How often each item was in each position of a log, float [3, items]."""
    place, item = (log[name].cast(pl.Int64).to_numpy() for name in ("position", "item"))
    counts = np.bincount((place - 1) * items + item, minlength=3 * items).reshape(3, items)
    return counts / counts.sum(1, keepdims=True)


def estimates(campaign: str) -> list[dict[str, Any]]:
    """Each policy from the log of the other one."""
    logs = {policy: impressions(campaign, policy) for policy in ("bts", "random")}
    items = logs["random"]["item"].n_unique()  # from 0, without gaps
    policies = [
        ("random", "bts", "uniform", np.full((3, items), 1 / items)),
        ("bts", "random", "prior", thompson(campaign)),
        ("bts", "random", "shares of its own log", shown(logs["bts"], items)),
    ]
    found = []
    for target, logged, known_by, probability in policies:
        own = off_policy(logs[target].with_columns(target=pl.col("propensity")))
        policy = table_of(probability)
        rows = joined(logs[logged], policy)
        rows = with_rewards(rows, policy.table, policy.context, FEATURES)
        for clip in (None, 10.0):
            made = off_policy(rows, clip=clip)
            found.append(
                {
                    "campaign": campaign, "policy": target, "log": logged, "known_by": known_by,
                    "clip": clip, "clicks": [int(logs[target]["click"].sum()),
                                             int(logs[logged]["click"].sum())],
                    "on_policy": asdict(own.estimates[0]), **asdict(made),
                }
            )  # fmt: skip
    return found


def record() -> dict[str, Any]:
    """All estimates, with the commit and the time."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=HERE
    ).stdout.strip()
    begun = time.perf_counter()
    found = [each for campaign in CAMPAIGNS for each in estimates(campaign)]
    return {
        "commit": commit,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.perf_counter() - begun, 1),
        "draws": DRAWS,
        "estimates": found,
    }


def markdown(found: dict[str, Any]) -> str:
    """The table: clicks of 1,000 impressions, 95 % intervals."""
    heads = ["campaign", "policy", "from the log of", "its own log", "IPS", "apart", "SNIPS",
             "DR", "DM", "IPS, weights up to 10", "worth", "mean weight"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|" + "---:|" * (len(heads) - 3)]
    whole, cut = found["estimates"][::2], found["estimates"][1::2]
    for each, clipped in zip(whole, cut, strict=True):
        own = each["on_policy"]
        by_name = {one["name"]: one for one in each["estimates"]}
        ips = by_name["ips"]
        apart = (ips["value"] - own["value"]) / (ips["error"] ** 2 + own["error"] ** 2) ** 0.5
        less = next(one for one in clipped["estimates"] if one["name"] == "ips")
        known = {"uniform": "", "prior": ", by its prior"}.get(each["known_by"], ", as shown")
        cells = [
            each["campaign"], each["policy"] + known, each["log"], told(own), told(ips),
            f"{apart:+.1f}", told(by_name["snips"]), told(by_name["dr"]),
            f"{1000 * by_name['dm']['value']:.1f}", told(less), f"{each['effective']:,.0f}",
            f"{each['weight']:.2f} ± {each['weight_error']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def told(one: dict[str, Any]) -> str:
    """Clicks of 1,000 impressions, with their interval."""
    value, low, high = (1000 * one[name] for name in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def main() -> int:
    """Record, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    if not check:
        write_json(HERE / "results.json", record())
    found = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    page = (HERE / "README.md").read_text(encoding="utf-8")
    table = f"<!-- rows:start -->\n{markdown(found)}\n<!-- rows:end -->"
    made = re.sub(r"<!-- rows:start -->.*<!-- rows:end -->", lambda _: table, page, flags=re.S)
    if check:
        return int(made != page)
    write_text(HERE / "README.md", made)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
