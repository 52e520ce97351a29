"""Whether a run of other data, from which this one begins, has learnt what is tested here."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from omegaconf import DictConfig

from lightning_rec import config
from lightning_rec.build.trainer import recorded_hash
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.sources.joined import parts_in, sets_in
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_json
from lightning_rec.problems.base import Problem
from lightning_rec.problems.sequence_tables import TRAINED, catalogue, trained_of, users_of
from lightning_rec.runs.folder import RunFolder

log = logging.getLogger(__name__)

Learnt = dict[str, Any]  # of the card of a run: which data, under which protocol


def learnt_by(run: RunFolder) -> list[Learnt]:
    """What a run had learnt, and what those had that it began with, as far as this was of other
    data than its own. Raises UserError if its card says so in no form of ours.
    """
    begun = run.card.get("begun") or {}
    earlier = begun.get("learnt", []) if isinstance(begun, dict) else None
    keys = {"data", "names", "data_hash", "protocol_hash", "protocol", "partial"}
    if not isinstance(earlier, list) or any(
        not isinstance(before, dict)
        or not keys <= before.keys()
        or not isinstance(before["names"], list)
        or not all(isinstance(name, str) for name in before["names"])
        for before in earlier
    ):
        raise UserError(
            f"{run.path / 'run.json'}: what stands under 'begun' is not as a training wrote it, so "
            "that what the run had begun with cannot be told."
        )
    return [_own(run), *earlier]


def of_others(learnt: list[Learnt], loaded: Audited[Any], cfg: DictConfig) -> list[Learnt]:
    """What of it is of data under other names than this one's, whose own card says the rest."""
    ours = sets_in(loaded.name, config.plain(cfg.data))
    of = [{**before, "names": sorted({*before["names"]} - ours)} for before in learnt]
    return [before for before in of if before["names"]]


def _own(run: RunFolder) -> Learnt:
    card, node = run.card, config.plain(run.config.get("data")) or {}
    known = {key: card.get(key) for key in ("data_hash", "protocol_hash", "protocol", "partial")}
    name = card.get("data") or node.get("name")  # that of a bundle says neither
    names = sorted(sets_in(str(name), node)) if name else []
    return {"data": name, "names": names, **known}


def check_elsewhere(
    told: str, run: RunFolder, problem: Problem[Any], loaded: Audited[Any], cfg: DictConfig
) -> None:
    """Check that a run of other data, from which this one begins, and those that it began with,
    were not trained on what is tested here. What has the events of training here, and no others, is
    known by this run's own card from then on.

    Raises UserError where data of one name is in both, but for the same data under the same
    protocol, and a part of joined data of whose users the training had the same events.
    """
    ours = sets_in(loaded.name, config.plain(cfg.data))
    for place, before in enumerate(learnt_by(run)):
        what = f"{told} was" if not place else f"{told} began with a run that was"
        if before["data_hash"] == loaded.data_hash:
            _check_protocol(what, before, problem, loaded)
        elif not (shared := sorted({*before["names"]} & ours)):
            other = "%s trained on %s, other data than these: are they of other people?"
            log.warning(other, what, before["data"])
        elif place or not _same_training(run, before, problem, loaded, cfg):
            raise UserError(
                f"{what} trained on {listed(shared)} as well, in another state or under another "
                "protocol than here, so that it may have been trained on what is tested here. If "
                "these are other people, give them another name, data.name=NAME; joined data goes "
                "with one of its parts where both have the same protocol, such as "
                "protocol=leave_one_out."
            )
        else:
            had = "%s trained on %s as well, of which it had the events that training has here."
            log.warning(had, what, listed(shared))


def _check_protocol(what: str, before: Learnt, problem: Problem[Any], loaded: Audited[Any]) -> None:
    """Raise UserError where the same data was split otherwise."""
    # A run that was measured on a part of the data has that part in its hash.
    measured = recorded_hash(problem.protocol.hash(loaded.counts), before["partial"])
    if before["protocol_hash"] != measured:
        raise UserError(
            f"{what} trained on the same data, and has another protocol_hash than this run, so "
            "that it may have been trained on what is tested here: train one under the same "
            "protocol."
        )


def _same_training(
    run: RunFolder, before: Learnt, problem: Problem[Any], loaded: Audited[Any], cfg: DictConfig
) -> bool:
    """Whether a run had the same training events of the users that both know, and the same items
    were new to it, where one of both is joined of what the other has.
    """
    if before["data"] == loaded.name or getattr(loaded.data, "split", None) is None:
        return False
    if sha256_json(before["protocol"]) != sha256_json(problem.protocol.settings()):
        return False
    theirs = parts_in(before["data"], config.plain(run.config.data))
    ours = parts_in(loaded.name, config.plain(cfg.data))
    then = _training(run.table("users"), run.table(TRAINED), run.table("items").sort("code"))
    own: AuditedLog = loaded
    now = _training(users_of(own), trained_of(own), catalogue(own))
    for one, other in _pairs(theirs, ours):
        both = _of_part(then, one).join(_of_part(now, other), "user", "full", coalesce=True)
        if both.is_empty() or not both["items"].equals(both["items_right"]):
            return False
    return True


def _pairs(
    theirs: Mapping[str, set[str]], ours: Mapping[str, set[str]]
) -> Iterator[tuple[str, str]]:
    """Parts of two data sets of which one name is in both."""
    for one, names in theirs.items():
        for other, own in ours.items():
            if names & own:
                yield one, other


def _training(users: pl.DataFrame, trained: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """``user`` and ``items``, the ids of those of the training, oldest first, of whom had any."""
    known = users.select("user", "items").with_columns(trained["events"])
    had = known.with_columns(pl.col("items").list.head("events")).filter(pl.col("events") > 0)
    flat = had.explode("items")
    ids = items["item"].gather(flat["items"])
    return flat.select("user").with_columns(items=ids)


def _of_part(training: pl.DataFrame, begin: str) -> pl.DataFrame:
    """The same of a part, whose ids begin so, by its own ids, a row for each user."""
    own = training.filter(pl.col("user").str.starts_with(begin))
    ids = own.with_columns(pl.all().str.strip_prefix(begin))
    return ids.group_by("user", maintain_order=True).agg("items")
