"""Whether data and protocol are those that a run was made with."""

import logging
from typing import Any

from lightning_rec.build.trainer import recorded_hash
from lightning_rec.data.core.audited import Audited
from lightning_rec.errors import UserError
from lightning_rec.problems.base import Problem
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import Withheld

log = logging.getLogger(__name__)


def check_data(run: RunFolder, problem: Problem[Any], loaded: Audited[Any]) -> None:
    """Raises UserError if data, catalogue or protocol have another hash than the run's card."""
    if not (run.path / checksums.NAME).exists() and run.card.get("status") == "completed":
        told = "%s has no %s: whether its files are as the run wrote them cannot be told."
        log.warning(told, run.path, checksums.NAME)
    pure, part = problem.protocol.hash(loaded.counts), run.card.get("partial")
    now = {"data_hash": loaded.data_hash, "protocol_hash": recorded_hash(pure, part)}
    if problem.reads_catalogue and (catalogue := problem.catalogue_hash(loaded)):
        now["catalogue_hash"] = catalogue
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
