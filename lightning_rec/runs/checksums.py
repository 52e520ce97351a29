"""SHA-256 of what a run writes and reads again: a changed bit is named, not computed with."""

import logging
from pathlib import Path
from typing import Any

from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_file, write_json

NAME = "checksums.json"

log = logging.getLogger(__name__)


def record(folder: Path, written: Path, name: str) -> None:
    """Note the hash of ``written``, a file that is about to take the place of ``name``.

    The hash of the file that it replaces stays valid: a kill may come before the renaming.
    """
    known = _known(folder)
    known[name] = _latest([sha256_file(written), *known.get(name, [])])
    write_json(folder / NAME, known)


def moved(folder: Path, name: str, to: str) -> None:
    """Note that a file is about to be renamed."""
    known = _known(folder)
    known[to] = _latest([*known.get(name, []), *known.get(to, [])])
    write_json(folder / NAME, known)


def forget(folder: Path, name: str) -> None:
    """Note that a file is meant to be gone."""
    known = _known(folder)
    if known.pop(name, None) is not None:
        write_json(folder / NAME, known)


def sound(folder: Path, name: str) -> bool:
    """Whether a file is as it was written; so is one that nothing is known of, of older runs."""
    found = sha256_file(folder / name)  # before it is looked up: the run may be writing
    expected = _known(folder).get(name)
    return expected is None or found in expected


def verify(folder: Path, name: str) -> None:
    """Raises UserError unless a file is there and :func:`sound`."""
    if not (folder / name).is_file():
        raise UserError(f"{folder / name} is missing: bring back the file, or train anew.")
    if not sound(folder, name):
        raise UserError(
            f"{folder / name} is not as the run wrote it: its SHA-256 is not the one in {NAME}. "
            "Bring back the file, or train anew."
        )


def verify_all(folder: Path) -> None:
    """Raises UserError naming all files that are missing or changed; of checkpoints it warns."""
    faults: dict[bool, list[str]] = {False: [], True: []}  # by whether it is a checkpoint
    for name in sorted(_known(folder)):
        if not (folder / name).is_file():
            faults[_is_checkpoint(name)].append(f"{folder / name} is missing")
        elif not sound(folder, name):
            faults[_is_checkpoint(name)].append(f"{folder / name} is not as the run wrote it")
    if own := faults[False]:
        raise UserError(f"{listed(own)}, by {NAME}: bring back the files, or train anew.")
    for fault in faults[True]:
        log.warning("%s: no figure depends on it, but resume= does.", fault)


def _is_checkpoint(name: str) -> bool:
    return name.startswith("checkpoints/")


def _latest(hashes: list[str]) -> list[str]:
    return list(dict.fromkeys(hashes))[:2]


def _known(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    if not path.exists():
        return {}
    known = read_json(path)
    if not isinstance(known, dict) or not all(isinstance(each, list) for each in known.values()):
        raise UserError(f"{path} does not hold a list of hashes for each file.")
    return known
