"""A finished run of matching, used: the best items of its catalogue for anybody's query."""

from pathlib import Path

import polars as pl
import torch

from lightning_rec import config
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.problems.matching import Matching
from lightning_rec.problems.retrievers import make_retriever
from lightning_rec.runs.folder import RunFolder


class Search:
    """Finds items by a finished run; the run folder and its language model are all it needs.

    Args:
        folder: of the run.

    Raises:
        UserError: if it is no completed run of matching.
    """

    def __init__(self, folder: Path) -> None:
        run = RunFolder.open(folder)
        cfg = run.config
        if config.target("task", config.plain(cfg.task)) is not Matching:
            raise UserError(
                f"run={folder} is a run of model={cfg.model._target_.rpartition('.')[2]}, which "
                "reads no queries: search takes a run of matching, such as one of model=bm25, "
                "bi_encoder or cross_encoder."
            )
        run.check_completed("run")
        self.model = Matching(cfg).restored(run)
        self.items = run.table("items").sort("code")

    def __call__(self, queries: list[str], k: int = 10) -> list[pl.DataFrame]:
        """The ``k`` best items of each query, the best first: ``rank``, ``score``, ``item``,
        ``title``. There are fewer where nothing more is found.

        Raises UserError for an empty query, or where there are no ``k`` items.
        """
        for query in queries:
            if not query.strip():
                raise UserError("A query is empty: say what is looked for, as in 'angle bracket'.")
        retriever = make_retriever(self.model, queries, render_template(self.items, "{title}"))
        if k < 1 or k > retriever.longest:
            raise UserError(
                f"k={k}: this run can find from 1 to {retriever.longest:,} items for a query."
            )
        found = retriever(torch.arange(len(queries)), k)
        tables = []
        for items, scores in zip(found.items, found.scores, strict=True):
            there = items >= 0
            rows = self.items[items[there].tolist()].select("item", "title")
            score = pl.Series("score", scores[there].numpy())
            tables.append(rows.with_row_index("rank", 1).insert_column(1, score))
        return tables
