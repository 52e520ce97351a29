"""Whether data and protocol are those that a run was made with."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_rec import config
from lightning_rec.build.trainer import recorded_hash
from lightning_rec.data.core.audited import Audited
from lightning_rec.errors import UserError
from lightning_rec.problems.base import Problem
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import Withheld

log = logging.getLogger(__name__)

# What the rows and columns of weights stand for, whatever their shapes.
ALIKE = ("item", "adapter", "data.fields", "task.events", "task.users", "model.heads")


def check_data(run: RunFolder, problem: Problem[Any], loaded: Audited[Any]) -> None:
    """Raises UserError if data, catalogue or protocol have another hash than the run's card."""
    if not (run.path / checksums.NAME).exists() and run.card.get("status") == "completed":
        told = "%s has no %s: whether its files are as the run wrote them cannot be told."
        log.warning(told, run.path, checksums.NAME)
    pure, part = problem.protocol.hash(loaded.counts), run.card.get("partial")
    now = {"data_hash": loaded.data_hash, "protocol_hash": recorded_hash(pure, part)}
    if problem.reads_catalogue and (catalogue := problem.catalogue_hash(loaded)):
        now["catalogue_hash"] = catalogue
    if beside := problem.side_hash(loaded):
        now["side_hash"] = beside
    for name, value in now.items():
        if run.card.get(name) not in (None, value):
            raise UserError(
                f"{name} of {run.path} is {run.card[name][:12]}, but here it is {value[:12]}: the "
                "data or the protocol is not the one the run was made with."
            )


def check_withheld(
    run: RunFolder, problem: Problem[Any], loaded: Audited[Any], withheld: Withheld
) -> None:
    """Let warnings of the data be seen, if it is that of the run. Raises as :func:`check_data`."""
    check_data(run, problem, loaded)
    hashes = (loaded.data_hash, problem.catalogue_hash(loaded))
    known = hashes == (run.card.get("data_hash"), run.card.get("catalogue_hash"))
    withheld.release(known=known)


def check_read(problem: Problem[Any], loaded: Audited[Any], cfg: DictConfig) -> None:
    """Check the runs that the method of ``cfg`` reads.

    Raises UserError if one is not completed, or of other data or another protocol, under which it
    may have been trained on what is tested here; or, where its weights are taken over by their
    names, if they stand for something else.
    """
    protocol = problem.protocol.hash(loaded.counts)
    for key, folder in problem.method.reads.items():
        try:
            run = RunFolder.open(Path(folder))
        except UserError as error:
            raise UserError(f"{key}={folder}: {error}") from error
        run.check_completed(key)
        # A run that was measured on a part of the data has that part in its hash.
        measured = recorded_hash(protocol, run.card.get("partial"))
        own = {"data_hash": loaded.data_hash, "protocol_hash": measured}
        for name, value in own.items() if problem.method.same_data else ():
            if run.card.get(name) != value:
                raise UserError(
                    f"{key}={folder} has another {name} than this run, so that it may have been "
                    "trained on what is tested here: train one on the same data under the same "
                    "protocol."
                )
        for node in ALIKE if problem.method.takes_weights else ():
            then, now = (config.plain(OmegaConf.select(each, node)) for each in (run.config, cfg))
            if then != now:
                raise UserError(
                    f"{key}={folder} has {node}={then}, and this run {now}, by which its weights "
                    "would stand for something else: say the same."
                )
        described = problem.method.takes_weights and problem.reads_catalogue
        if described and run.card.get("catalogue_hash") != problem.catalogue_hash(loaded):
            raise UserError(
                f"{key}={folder} knew items by another catalogue than this run: train one with the "
                "catalogue as it is now."
            )
