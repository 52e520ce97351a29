"""``lightning-rec search run=FOLDER "query"``: the best items of a run's catalogue."""

import re
from pathlib import Path

import polars as pl

from lightning_rec.commands.hydra_main import take_key
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
The best items of a run's catalogue for a query, by title, with their scores.

usage: lightning-rec search run=FOLDER [k=NUMBER] "QUERY" ["QUERY" ...]

FOLDER is a completed run of matching: of BM25, of a bi-encoder, or of a
cross-encoder, which re-ranks what its first stage finds. The vectors of the
catalogue are made once and kept in the cache. k is 10 if nothing is said.

Examples:
  lightning-rec search run=runs/bi_encoder "angle bracket"
  lightning-rec search run=FOLDER k=5 "deck screws" "rain shower head"
  lightning-rec search run=FOLDER "1/2 in. drill bit"
"""

_KEY = re.compile(r"[a-z_.]+=")
_LONGEST = 200  # characters of a query or a title that are shown


def run(arguments: list[str]) -> int:
    """Print a table for each query. Raises UserError on bad input."""
    folders, rest = take_key(arguments, "run")
    numbers, queries = take_key(rest, "k")
    if unknown := [name for query in queries if (name := _KEY.match(query))]:
        raise UserError(
            f"{unknown[0][0]} is no key of search, which takes run= and k=. In a query, put a "
            "blank before the '='."
        )
    if len(numbers) > 1:
        raise UserError(f"k= is said {len(numbers)} times: say it once.")
    if len(folders) != 1 or not folders[0]:
        raise UserError('Say which run: lightning-rec search run=FOLDER "QUERY"')
    if not queries:
        raise UserError('Say what is looked for: lightning-rec search run=FOLDER "QUERY"')
    k = number("k", numbers[0], int) if numbers else 10
    with loading():
        from lightning_rec.build import load_run
        from lightning_rec.predict.matching import MatchPredictor

    predictor = load_run(Path(folders[0]))
    if not isinstance(predictor, MatchPredictor):
        raise UserError(
            f"run={folders[0]} is a run of model={predictor.name}, which reads no queries: search "
            "takes a run of matching, such as one of model=bm25, bi_encoder or cross_encoder."
        )
    queries = list(dict.fromkeys(queries))
    tables = predictor.recommend(queries, k).partition_by("query", as_dict=True)
    console = Screen()
    for query in queries:
        asked, found = _short(query), tables.get((query,), pl.DataFrame())
        shown = FittedTable(asked, [*figures("rank", "score"), *text("title", "item")])
        for _, rank, item, title, score in found.iter_rows():
            shown.add_row(str(rank), f"{score:.4f}", _short(title or ""), str(item))
        console.print(shown if len(found) else f"{asked}: nothing was found.")
    return 0


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
