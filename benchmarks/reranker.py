"""RecTools' two-stage re-ranker on a split of ours: what ``experiments/pipeline`` has beside it.

With our Python: ``python -m benchmarks.reranker export OUT.csv data=ml_100k …`` writes the events
of a split. With that of ``.bench/rectools``, which has lightgbm as well:
``python -m benchmarks.reranker measure IN.csv OUT.json --neighbours 708 --l2 115``.

Both see the same events, the same retrievers with the same settings and quotas (100 each), a ranker
that learns from the last training event of each user, the target against 100 other candidates, and
LightGBM. RecTools' features are the scores and ranks of the retrievers, missing ones filled as its
tutorial does; LightGBM has its own defaults, as there.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

QUOTA = 100
NEGATIVES = 100
CUTOFFS = (10, 20)


def export(target: Path, overrides: list[str]) -> None:
    """Write ``user``, ``item``, ``place`` and ``part`` (0 train, 1 val, 2 test) of each event."""
    import polars as pl

    from lightning_rec import load_data

    split = load_data(*overrides).data.split
    lengths = np.diff(split.offsets)
    user = np.repeat(np.arange(split.num_users), lengths)
    train = np.arange(len(user)) < split.train_end[user]
    frame = pl.DataFrame(
        {
            "user": user,
            "item": np.asarray(split.items).astype(np.int64),
            "place": np.arange(len(user)) - split.offsets[user],
            "part": np.where(train, 0, 1),
        }
    )
    test = pl.DataFrame(
        {"user": np.asarray(split.test.user, dtype=np.int64), "target": split.test.target}
    )
    # The event of the test is no part of what anybody reads.
    ends = pl.DataFrame({"user": test["user"], "end": split.test.end}).with_columns(
        pl.col("end") - pl.Series(split.offsets[test["user"].to_numpy()])
    )
    kept = frame.join(ends, on="user").filter(pl.col("place") < pl.col("end")).drop("end")
    targets = test.select("user", item="target", place=pl.lit(-1), part=pl.lit(2))
    pl.concat([kept.cast(pl.Int64), targets.cast(pl.Int64)]).write_csv(target)


def measure(source: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """Fit the models on the training events, recommend from those of validation as well."""
    import pandas as pd
    from implicit.nearest_neighbours import CosineRecommender
    from lightgbm import LGBMClassifier
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.model_selection import LastNSplitter
    from rectools.models import EASEModel, ImplicitItemKNNWrapperModel, PopularModel
    from rectools.models.ranking import (
        CandidateGenerator,
        CandidateRankingModel,
        PerUserNegativeSampler,
        Reranker,
    )

    events = pd.read_csv(source)
    moment = pd.Timestamp("2000-01-01") + pd.to_timedelta(events["place"], unit="s")
    table = pd.DataFrame(
        {
            Columns.User: events["user"],
            Columns.Item: events["item"],
            Columns.Weight: 1.0,
            Columns.Datetime: moment,
        }
    )
    train = table[events["part"] == 0]
    known = events["item"].isin(train[Columns.Item].unique())
    later = table[(events["part"] == 1) & known]
    fitted = Dataset.construct(train)
    asked = Dataset.construct(pd.concat([train, later], ignore_index=True))
    test = events[events["part"] == 2]
    generators = {
        "ItemKNN": ImplicitItemKNNWrapperModel(CosineRecommender(K=settings.neighbours)),
        "EASE": EASEModel(regularization=settings.l2, num_threads=1),
        "Popularity": PopularModel(),
    }
    told: dict[str, Any] = {"seed": settings.seed, "quota": QUOTA, "negatives": NEGATIVES}
    for name, model in generators.items():
        model.fit(fitted)
        told[name] = figures(model, asked, test)
    ranking = CandidateRankingModel(
        candidate_generators=[
            CandidateGenerator(
                model, QUOTA, keep_ranks=True, keep_scores=True,
                scores_fillna_value=0.0, ranks_fillna_value=QUOTA + 1.0,
            )
            for model in generators.values()
        ],
        splitter=LastNSplitter(n=1),
        reranker=Reranker(LGBMClassifier(random_state=settings.seed, n_jobs=1, verbose=-1)),
        sampler=PerUserNegativeSampler(NEGATIVES, random_state=settings.seed),
    )  # fmt: skip
    started, cpu = time.perf_counter(), time.process_time()
    ranking.fit(fitted)
    told["seconds"] = {"fit": time.perf_counter() - started}
    started = time.perf_counter()
    told["RecTools"] = figures(ranking, asked, test)
    told["seconds"] |= {
        "recommend": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
    }
    told["packages"] = {name: version(name) for name in ("rectools", "lightgbm", "pm-implicit")}
    return told | {"made": datetime.now(UTC).isoformat(timespec="seconds")}


def figures(model: Any, dataset: Any, test: Any) -> dict[str, float]:
    """Recall and ndcg over all targets of the test; one that is not listed counts 0."""
    from rectools import Columns

    users = test["user"].to_numpy()
    listed = model.recommend(users, dataset, k=max(CUTOFFS), filter_viewed=True)
    joined = listed.merge(
        test[["user", "item"]].rename(columns={"user": Columns.User, "item": Columns.Item}),
        on=[Columns.User, Columns.Item],
    )
    rank = joined[Columns.Rank].to_numpy()
    found = {}
    for k in CUTOFFS:
        inside = rank[rank <= k]
        found[f"test/recall@{k}"] = len(inside) / len(test)
        found[f"test/ndcg@{k}"] = float((1 / np.log2(inside + 1)).sum() / len(test))
    return found


def main() -> None:
    """Export a split, or measure RecTools on one."""
    if sys.argv[1:2] == ["export"]:
        export(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["measure"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--neighbours", type=int, default=50)
    parser.add_argument("--l2", type=float, default=500.0)
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args()
    told = measure(settings.source, settings)
    settings.target.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
