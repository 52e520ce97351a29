"""List-wise re-ranking of what a finished run of sequences finds, by a language model."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lightning_rec import config
from lightning_rec.data.batches import SequenceData
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json, write_json
from lightning_rec.items.base import Reading
from lightning_rec.language.hub import find_model, fingerprint
from lightning_rec.language.letters import Kept
from lightning_rec.language.load import words_loader
from lightning_rec.methods.update import Before
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.text.listwise import Listwise
from lightning_rec.models.together import Member
from lightning_rec.problems.ensembles import Members
from lightning_rec.problems.sequence_tables import (
    TRAINED,
    described_items,
    metrics_of,
    trained_of,
)
from lightning_rec.problems.sequences import Sequences
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.listwise import ListwiseSteps

FACTS = "listwise.json"
# Of a protocol: whose targets are measured, which may be fewer than those of the first model.
DRAWN = ("val_users", "val_seed", "test_users", "test_seed")


class ListwiseSequences(Sequences):
    """A run of sequences whose best items are re-ranked; see :class:`Listwise`."""

    @cached_property
    def members(self) -> Members:
        """The run that finds what is re-ranked. Raises UserError if none is named."""
        first = config.plain(self.cfg.model).get("first")
        if first is None:
            raise UserError(
                "model.first=FOLDER: name a finished run of sequences, whose best items are to be "
                "re-ranked."
            )
        return Members({"first": first}, Sequences, "model")

    @property
    def reads_catalogue(self) -> bool:
        """It does: titles."""
        return True

    def load(self, cache: Path) -> AuditedLog:
        """Prepare, split and audit the interactions, and compare them with the first run's."""
        loaded = super().load(cache)
        check_first(self.members.runs["first"], loaded, self.protocol.settings())
        return loaded

    def make_model(self, schema: Schema, reading: Reading | None = None) -> SequenceModel:
        """The model without weights, for a first look."""
        return self._over(schema, self.members.problems["first"].meta_model, [], meta=True)

    def make_task(self, loaded: AuditedLog, data: SequenceData) -> Task:
        """The task over the first model as it was trained; what is read is kept in the cache."""
        model = self._restored(described_items(loaded), data.schema.num_users)
        known = fingerprint(find_model(self.cfg.model.encoder))
        model.reader.kept = Kept(cache_dir() / "letters" / known[:24], model.rerank)
        steps = ListwiseSteps(model, **metrics_of(self.protocol, loaded, self.measured))
        return self.task(steps, model, None, self.objective)

    def restored(
        self, run: RunFolder, items: pl.DataFrame, users: int, known: int | None = None
    ) -> SequenceModel:
        """The model of a finished run; see :meth:`Sequences.restored`."""
        run.check_language(self.cfg)
        return self._restored(items, users, known)

    def before(self, loaded: AuditedLog, folder: str) -> Before:
        """None. Raises UserError."""
        raise UserError(
            "method.run: nothing is trained in list-wise re-ranking: let its model.first go on, "
            "and re-rank that."
        )

    def tables(self, task: Task, loaded: AuditedLog) -> dict[str, pl.DataFrame]:
        """Those of a run of sequences, with the first model's ranks; and what was read."""
        steps: Any = task.steps
        made, lists = super().tables(task, loaded), steps.lists["test"]
        first = pl.Series("first_rank", lists.first.numpy())
        tested = made["test_users"].with_columns(first.set(first == 0, None))
        orders, size = lists.shown.shape[1:]
        rows = {
            "user": tested["user"].gather(np.repeat(np.arange(len(tested)), orders)),
            "order": np.tile(np.arange(orders), len(tested)),
            "shown": lists.shown.numpy().reshape(-1, size),
            "said": lists.said.numpy().reshape(-1, size),
            "score": lists.scores.numpy().reshape(-1, size),
        }
        arrays = pl.DataFrame(rows).with_columns(pl.col("shown", "said", "score").arr.to_list())
        read = arrays if orders else arrays.clear()
        return made | {"test_users": tested, "lists": read} | positions_of(steps.facts)

    def save_artifacts(self, task: Task, folder: Path) -> None:
        """Write ``listwise.json``."""
        steps: Any = task.steps
        write_json(folder / FACTS, steps.facts)
        checksums.record(folder, folder / FACTS, FACTS)

    def _restored(self, items: pl.DataFrame, users: int, known: int | None = None) -> Listwise:
        run = self.members.runs["first"]
        own = run.table("items").sort("code")["item"]
        if not own.equals(items["item"].head(known or len(items))):
            raise UserError(f"model.first={run.path} numbers items in another way.")
        (model,) = self.members.restored(lambda _: (items, users, known))
        schema = Schema(len(items), self.cfg.batches.max_len, users)
        titles = render_template(items, config.plain(self.cfg.model)["title"])
        return self._over(schema, model, titles)

    def _over(
        self, schema: Schema, first: SequenceModel, titles: list[str], *, meta: bool = False
    ) -> Listwise:
        problem = self.members.problems["first"]
        member = Member(first, problem.objective.query_inputs, problem.block_tokens)
        load = words_loader(meta=meta)
        made = self._build("model", schema=schema, first=member, titles=titles, load_words=load)
        assert isinstance(made, Listwise)
        return made


def check_first(run: RunFolder, loaded: AuditedLog, protocol: dict[str, Any]) -> None:
    """Raise UserError if the first run is of other data, of another protocol but for the users that
    are measured, or was trained on other events.
    """
    other, own = (
        sha256_json({key: value for key, value in each.items() if key not in DRAWN})
        for each in (run.card.get("protocol", {}), protocol)
    )
    trained = run.table(TRAINED) if (run.path / f"{TRAINED}.parquet").is_file() else None
    found = {
        "other data": run.card.get("data_hash") != loaded.data_hash,
        "another protocol": other != own,
        "other training events": trained is None or not trained.equals(trained_of(loaded)),
    }
    for what, differs in found.items():
        if differs:
            raise UserError(
                f"model.first={run.path} is a run of {what} than this one, so that it may have "
                "been trained on what is tested here: say data= and protocol= as that run did; "
                "protocol.test_users and protocol.val_users alone may differ."
            )


def positions_of(facts: dict[str, Any]) -> dict[str, pl.DataFrame]:
    """``positions``: a row for each place of a list; nothing where no random order was read."""
    if "places" not in facts:
        return {}
    columns: dict[str, Any] = {"place": np.arange(1, len(facts["places"]["rank"]) + 1)}
    for name, each in facts["places"].items():
        mean, low, high = zip(*each, strict=True)
        columns |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return {"positions": pl.DataFrame(columns)}
