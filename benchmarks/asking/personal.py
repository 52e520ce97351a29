"""Search by relevance and taste on Amazon Beauty, weight fitted on validation, judged on the test.

python benchmarks/asking/personal.py BM25 SASREC DATA OUT writes ``personal.json`` beside this file,
and rows.parquet, the validation that the weight is fitted on, into OUT.

Queries are made of purchases as Van Gysel et al. (CIKM 2016) and Ai et al. (SIGIR 2017) made them:
the words of the category path of what was bought, repeats and stop words left out. SASREC is
trained leave-one-out: the last item of a user is the test, the one before it the validation, and
the history ends before either. BM25 is fitted to titles, and to no purchase. The checkpoint of
SASREC was chosen by the same validation, which leans the weight to taste; the test had no part.
"""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec import open_model
from lightning_rec.answers.personal import PersonalSearch
from lightning_rec.answers.personal_fit import fit
from lightning_rec.files import write_json
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor

Gains = NDArray[np.float64]
STOP = {"and", "or", "for", "of", "the", "with"}


def query_of(path: list[str]) -> str:
    """The words of a category path but for its root, each once."""
    words = " ".join(path[1:]).lower().replace("&", " ").replace(",", " ").split()
    return " ".join(word for word in dict.fromkeys(words) if word not in STOP)


def rows_of(data: Path, last: int) -> pl.DataFrame:
    """``query``, ``user``, ``item``, ``history``: the item ``last`` places before the end."""
    items = pl.read_ndjson(data / "items.jsonl")
    query = {str(i): query_of(c[0]) for i, c in items.select("item_id", "categories").iter_rows()}
    made = []
    for line in (data / "Beauty.txt").read_text(encoding="utf-8").splitlines():
        user, *bought = line.split()
        item, history = bought[-1 - last], bought[: -1 - last]
        if query[item]:
            made.append((query[item], user, item, history))
    return pl.DataFrame(made, schema=["query", "user", "item", "history"], orient="row")


def gains_of(search: PersonalSearch, rows: pl.DataFrame, k: int) -> Gains:
    """The discounted gain of each row, by the public answer alone: float64 [n]."""
    gains = np.zeros(len(rows))
    for start in range(0, len(rows), 2048):
        part = rows.slice(start, 2048)
        lists = part["history"].to_list()
        found = search.recommend(part["query"].to_list(), histories=lists, k=k)
        asked = part.with_row_index("row").select(pl.col("row").cast(pl.UInt32), "item")
        hits = found.join(asked, on=["row", "item"], how="inner")
        gains[start + hits["row"].to_numpy()] = 1 / np.log2(hits["rank"].to_numpy() + 1.0)
    return gains


def main() -> None:
    """Fit, test, and write the JSON."""
    matching, taste = open_model(sys.argv[1]), open_model(sys.argv[2])
    data, out = Path(sys.argv[3]), Path(sys.argv[4])
    validation, test = rows_of(data, 1), rows_of(data, 0)
    out.mkdir(parents=True, exist_ok=True)
    validation.write_parquet(out / "rows.parquet")
    assert isinstance(matching, MatchPredictor)
    assert isinstance(taste, SequencePredictor)
    search = PersonalSearch(matching, taste)
    fitted = fit(search, validation)
    gains = {}
    for name, weight in (("relevance", 0.0), ("fitted", fitted.weight), ("taste", 1.0)):
        search.weight = weight
        gains[name] = gains_of(search, test, 10)
    found: dict[str, Any] = {
        name: {"ndcg@10": round(float(gain.mean()), 5)} for name, gain in gains.items()
    }
    for name in ("relevance", "taste"):
        difference = gains["fitted"] - gains[name]
        error = 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
        low, high = difference.mean() - error, difference.mean() + error
        found[f"fitted minus {name}"] = {
            "ndcg@10": round(float(difference.mean()), 5),
            "interval": [round(float(low), 5), round(float(high), 5)],
        }
    about = {
        "data": "Amazon Beauty 5-core, queries from category paths",
        "models": [matching.name, taste.name],
        "machine": f"{platform.machine()}, shared with other work",
        "validation": fitted._asdict() | {"table": fitted.table.to_dicts()},
        "test": {"rows": len(test)} | found,
    }
    write_json(Path(__file__).with_name("personal.json"), about)
    print(json.dumps(about["test"], indent=2), fitted)


if __name__ == "__main__":
    main()
