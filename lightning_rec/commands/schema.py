"""``lightning-rec data schema PATH``: a config for somebody's clicks, guessed, to be edited."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_rec import config
from lightning_rec.commands.check import refuse_others
from lightning_rec.commands.schema_log import BESIDE, schema_log
from lightning_rec.commands.sets import node, number, settings_of
from lightning_rec.config import as_override
from lightning_rec.data.clicks.infer import ROLES, Guess, fields_of, guess
from lightning_rec.data.clicks.kinds import decimal_comma
from lightning_rec.data.dialect import Dialect
from lightning_rec.data.oddities import garbled
from lightning_rec.data.plain import Unfit
from lightning_rec.data.propose import described
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.files import write_text
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

_WRITTEN = ("delimiter", "header", "columns", "encoding", "decimal", "quoted")  # of a text
_KEYS = (*ROLES, *_WRITTEN, "positive_from", "name", "out")


def schema(arguments: list[str], folders: Sequence[Path], console: Screen) -> int:
    """Guess, show and write a config, into the first of the config ``folders`` by default."""
    if not arguments or "=" in arguments[0]:
        raise UserError("Say which file: lightning-rec data schema PATH [label=COLUMN …]")
    path, settings = Path(arguments[0]).expanduser(), {}
    keys = {argument.removeprefix("data.").partition("=")[0] for argument in arguments[1:]}
    if keys & {*BESIDE, "user", "item"}:
        return _of_log(path, arguments[1:], folders, console)
    for argument in arguments[1:]:
        key, equals, value = argument.removeprefix("data.").partition("=")
        if not equals or key not in _KEYS:
            raise UserError(f"'{argument}' is not understood.{suggest(key, _KEYS)}")
        settings[key] = value
    name = settings.get("name", path.name.split(".")[0] or "clicks")
    folder = Path(settings.get("out", folders[0] if folders else "my_conf")).expanduser()
    target = folder / "data" / f"{name}.yaml"
    if target.exists():
        raise UserError(f"{target} is there already: edit it, remove it, or say name= or out=.")
    given = {role: settings[role] for role in ROLES if role in settings}
    # Values are read as YAML, as Hydra's are: 'null' is None, '[a,b]' a list.
    form = {key: yaml.safe_load(settings[key]) for key in _WRITTEN if key in settings}
    form = _complete(path, form, console)
    table = open_table(path, Dialect(**form))
    least = settings.get("positive_from")
    positive_from = number("positive_from", least, float) if least is not None else None
    guesses = guess(table, given, positive_from)
    for told in garbled(table):
        console.print(told, soft_wrap=True, highlight=False)
    console.print(_shown(path, guesses))
    for hint in (each.hint for each in guesses if each.hint):
        console.print(hint, soft_wrap=True, highlight=False)
    fields = fields_of(guesses, positive_from)
    made = {"name": name, "path": str(path), **form, "fields": fields}
    written = yaml.safe_dump(made, sort_keys=False, allow_unicode=True, default_flow_style=None)
    head = "# Guessed from the table: check every line. docs/clicks.md says what each means.\n"
    write_text(target, f"{head}defaults: [click_table, _self_]\n\n{written}")
    console.print(f"Written: {target}. Look at it and edit it, then", soft_wrap=True)
    words = ("--config-dir", str(folder), "model=deepfm", f"data={as_override(name)}")
    line = shlex.join(["lightning-rec", "train", *words])
    console.print(f"  {line}", soft_wrap=True, highlight=False)
    return 0


def _of_log(path: Path, arguments: list[str], folders: Sequence[Path], console: Screen) -> int:
    """A log, as ``data check`` takes its settings."""
    given, log = settings_of(arguments), node("table")
    protocol = given.pop("protocol", None)
    name, out = str(given.pop("name", path.name.split(".")[0] or "log")), given.pop("out", None)
    refuse_others(str(path), given, log)
    config.build("data", log | {"user": "user", "item": "item"} | given | {"path": str(path)})
    folder = Path(out or (folders[0] if folders else "my_conf")).expanduser()
    return schema_log(path, given, folder, name, protocol, console)


def _complete(path: Path, form: dict[str, Any], console: Screen) -> dict[str, Any]:
    """The dialect of a text file: what is given, and what is inferred and printed."""
    while True:
        found = {}
        try:
            found = described(path, form)
            open_table(path, Dialect(**form | found)).sound()
            told = f"{path} seems to have no header."
        except Unfit as error:
            if set(error.settings) & {*form, "invalid"}:
                raise
            found, told = error.settings, str(error)
        if found.get("form"):
            raise UserError(
                f"{path} has a user and all his items a line, and no labels: see "
                f"'lightning-rec data check {path}'."
            )
        if not found and "decimal" not in form:
            table = open_table(path, Dialect(**form))
            if commas := decimal_comma(table):
                found = {"decimal": "comma"}
                told = f"{path}: numbers have decimal commas (in {listed(commas)})."
        if not found:
            return form
        taken = listed(f"{key}={value}" for key, value in found.items())
        console.print(f"{told} {taken} is taken.", soft_wrap=True, highlight=False)
        form = form | found


def _shown(path: Path, guesses: list[Guess]) -> FittedTable:
    counted = figures("distinct", "empty", "vectors\nof 16,\nMiB")
    table = FittedTable(path.name, [*text("column", "type", "kind"), *counted, *text("because")])
    for each in guesses:
        cost = f"{each.megabytes:,.1f}" if each.megabytes else ""
        about = "" if each.exact else "about "
        numbers = (f"{about}{each.distinct:,}", f"{each.empty:.1%}", cost)
        kind = f"{each.kind}, group" if each.group else each.kind
        table.add_row(each.name, each.dtype, kind, *numbers, each.why)
    return table
