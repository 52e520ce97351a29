"""The Open Bandit Dataset: what a shop showed by chance, with the chance of it, and the clicks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.origins import Wheel
from lightning_rec.data.sources.public import PublicClicks

Campaign = Literal["all", "men", "women"]
POLICIES = ("bts", "random")
_NAMES = {"timestamp": "time", "item_id": "item", "propensity_score": "propensity"}
_LOGS = tuple(
    f"dataset/obd/{policy}/{campaign}/{campaign}.csv"
    for policy in POLICIES
    for campaign in ("all", "men", "women")
)
PRIOR = "policy/conf/prior_bts.yaml"

OPEN_BANDIT = PublicData(
    name="open_bandit",
    title="Open Bandit, a slice",
    licence="CC BY 4.0",
    items=80,
    events=20_000,
    megabytes=1.3,
    folders=("open_bandit", "obp"),
    layouts=(Layout("slice", _LOGS, (PRIOR,), (Wheel(
        "obp==0.4.1",
        "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208",
        inner="obp",
    ),)),),
)  # fmt: skip


@dataclass(eq=False, kw_only=True)
class OpenBandit(PublicClicks):
    """10,000 impressions of each of two policies in one of three campaigns of ZOZOTOWN.

    Saito, Aihara, Matsutani & Narita, "Open Bandit Dataset and Pipeline" (NeurIPS Datasets and
    Benchmarks 2021). ``random`` showed items uniformly, ``bts`` by Bernoulli Thompson sampling.
    Columns: ``time``, ``item``, ``position`` (1 to 3), ``click``, ``propensity`` (of the item in
    its position), ``user_feature_0`` to ``_3`` (hashed), and ``policy``.

    Args:
        campaign: over all 80 items, the 34 for men, or the 46 for women.
        policy: whose impressions are read.
    """

    public: ClassVar[PublicData] = OPEN_BANDIT

    campaign: Campaign = "all"
    policy: Literal["both", "bts", "random"] = "both"

    def settings(self) -> dict[str, Any]:
        """What is read."""
        return super().settings() | {"campaign": self.campaign, "policy": self.policy}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """The impressions, those of ``bts`` first where both are read."""
        wanted = POLICIES if self.policy == "both" else (self.policy,)
        at = {path.parts[-3:-1]: path for path in files if path.suffix == ".csv"}
        return pl.concat(_impressions(at[each, self.campaign], each) for each in wanted)


def _impressions(path: Path, policy: str) -> pl.LazyFrame:
    features = [f"user_feature_{number}" for number in range(4)]
    names = ["timestamp", "item_id", "position", "click", "propensity_score", *features]
    rows = pl.scan_csv(path, glob=False).select(names).rename(_NAMES)
    return rows.with_columns(pl.lit(policy).alias("policy"))
