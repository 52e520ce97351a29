"""``lightning-rec data check``: all that is wrong with a log, and the line that trains on it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_rec import config
from lightning_rec.commands.sets import node, settings_of
from lightning_rec.data.check import check_file
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen


def check(arguments: list[str], folders: Sequence[Path], console: Screen) -> int:
    """Check a file, or a data set by name; 1 if it has errors. Raises UserError if it is no log."""
    path = arguments.pop(0) if arguments and "=" not in arguments[0] else None
    given = settings_of(arguments)
    log = node("table")
    if path is None:
        given = _of_set(given, log, folders)
        path = str(given.pop("path"))
    refuse_others(path, given, log)
    # Refuses unknown keys and values of other types, as training does.
    config.build("data", log | {"user": "user", "item": "item"} | given | {"path": path})
    report = check_file(Path(path).expanduser(), **given)
    keys = "|".join(log)
    for told in (report.errors, report.warnings):  # keys are called as here, without data.
        told[:] = [re.sub(rf"\bdata\.(?=({keys})\b)", "", each) for each in told]
    console.print(report, soft_wrap=True)
    return 0 if report.ok else 1


def _of_set(given: dict[str, Any], log: dict[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """The settings of a data set that differ from the defaults, with those given."""
    if "name" not in given:
        raise UserError(
            "Say which file: lightning-rec data check PATH [user=… item=… time=… rating=…], or, "
            "of your own configs, --config-dir FOLDER name=NAME."
        )
    name = given["name"]
    whole = node(str(name), folders) | given
    if whole["_target_"] != log["_target_"] or whole.get("path") is None:
        raise UserError(
            f"'{name}' is no log of your own: 'lightning-rec data name={name}' reads it through."
        )
    return {key: value for key, value in whole.items() if value != log.get(key, value is None)}


def refuse_others(path: str, given: dict[str, Any], log: dict[str, Any]) -> None:
    """Raise UserError, with what to type instead, if the keys are those of pairs or of clicks."""
    pairs = f"pairs are read by 'lightning-rec data name=pairs path={path} query=… title=…'"
    clicks = f"a table of clicks is read by 'lightning-rec data schema {path}'"
    others = dict.fromkeys([*node("pairs")], pairs) | dict.fromkeys(["label", "fields"], clicks)
    if found := [key for key in given if key in others.keys() - log.keys()]:
        raise UserError(
            f"{found[0]}= is no key of a log, which is what is checked: {others[found[0]]}."
        )
