"""Whether data and protocol are those that a run was made with."""

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightning_rec import config
from lightning_rec.build.elsewhere import Learnt, check_elsewhere, learnt_by, of_others
from lightning_rec.build.trainer import recorded_hash
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.sources.joined import sets_in
from lightning_rec.errors import UserError, listed
from lightning_rec.language.hub import find_model, learnt_of, pretrained_of
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


def check_read(problem: Problem[Any], loaded: Audited[Any], cfg: DictConfig) -> dict[str, Any]:
    """Check the runs that the method of ``cfg`` reads, and the language models that it reads with;
    returns what those had ``learnt`` of other data, if anything.

    Raises UserError if a run is not completed, or of other data or another protocol, under which it
    may have been trained on what is tested here; or, where its weights are taken over by their
    names, if they stand for something else.
    """
    _check_learnt(problem, loaded, cfg)
    protocol, learnt = problem.protocol.hash(loaded.counts), list[Learnt]()
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
        if problem.method.elsewhere:
            check_elsewhere(f"{key}={folder}", run, problem, loaded, cfg)
        learnt += of_others(learnt_by(run), loaded, cfg)
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
    return {"learnt": learnt} if learnt else {}


def _check_learnt(problem: Problem[Any], loaded: Audited[Any], cfg: DictConfig) -> None:
    """Check what the language models that ``cfg`` reads with have learnt of what people did.

    Raises UserError where that may be what is tested here: of the same data under another protocol,
    or of another state of it; of rows of clicks also where it is not all before what is held out.
    """
    own = {
        "names": sets_in(loaded.name, config.plain(cfg.data)),
        "protocol": problem.protocol.settings(),
        "data_hash": loaded.data_hash,
        "protocol_hash": problem.protocol.hash(loaded.counts),
    }
    if hasattr(problem.source, "learnt"):  # pairs made of a log
        own = problem.source.learnt()
    held_out = getattr(loaded.data, "held_out_from", None)
    for name in pretrained_of(cfg) if problem.name != "mlm" else ():  # which asks for no event
        for before in learnt_of(find_model(name)):
            told = f"The language model {name} has learnt of pairs of {before['name']}"
            alike = {*before.get("names", [before["name"]])} & {*own["names"]}
            if alike or before["data_hash"] == own["data_hash"]:
                keys = ("data_hash", "protocol_hash")
                if odd := next((key for key in keys if before[key] != own[key]), None):
                    more = "" if odd == "data_hash" else _differing(before, own)
                    raise UserError(
                        f"{told}, of another {odd} than this run's{more}, so that it may have "
                        "learnt what is tested here: pretrain it with data@data.of= and "
                        "protocol@data.under= of data=co_purchase as data and protocol are here."
                    )
            elif problem.name == "click" and not _earlier(before["until"], held_out):
                raise UserError(
                    f"{told}, and whether all of it came before the rows that are held out here "
                    "cannot be told, or it did not: split the rows by time "
                    "(protocol=temporal_rows), and pretrain with protocol@data.under=temporal and "
                    "the same quantiles."
                )
            else:
                log.warning("%s, other data than these: are they of other people?", told)


def _differing(before: dict[str, Any], own: dict[str, Any]) -> str:
    """Which settings of two protocols differ, in brackets."""
    then, now = (json.loads(json.dumps(each.get("protocol", {}))) for each in (before, own))
    odd = [f"{key}={then.get(key)}, not {now.get(key)}" for key in now if then.get(key) != now[key]]
    return f" ({listed(odd, 4)})"


def _earlier(last: float | None, held_out: float | None) -> bool:
    return last is not None and held_out is not None and last < held_out
