"""``--help`` of the verbs that take overrides: the groups, their choices, three examples."""

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from lightning_rec.config import config_dir, translate


def wanted(arguments: list[str]) -> bool:
    """Whether help was asked for."""
    return bool({"-h", "--help"} & set(arguments))


def usage(purpose: str, examples: str, arguments: list[str]) -> str:
    """Help text: what the verb does, all config groups with their choices, and examples."""
    folders = [config_dir(), *config_folders(arguments)[0]]
    groups: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.glob("*/*.yaml"):
            groups.setdefault(path.parent.name, set()).add(path.stem)
    indent = " " * (max(len(name) for name in groups) + 4)
    listed = "\n".join(
        textwrap.fill(
            ", ".join(sorted(groups[name])),
            max(shutil.get_terminal_size().columns, len(indent) + 30),
            initial_indent=f"  {name}=".ljust(len(indent)),
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        for name in sorted(groups)
    )
    return f"""{purpose}

Groups and their choices (GROUP=CHOICE; any value below by GROUP.KEY=VALUE):
{listed}

Also: seed= run_dir= baseline= monitor=, Hydra's -m (sweep) and
--config-dir FOLDER (your own configs), --traceback.
'lightning-rec show' prints every key with its value.

Examples:
{examples}"""


def config_folders(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """Take ``--config-dir X``, ``--config-dir=X`` and ``-cd X`` out: the folders, and the rest."""
    folders, others = [], []
    rest = iter(arguments)
    for argument in rest:
        if argument in ("--config-dir", "-cd"):
            folders.append(Path(next(rest, "")))
        elif argument.startswith("--config-dir="):
            folders.append(Path(argument.partition("=")[2]))
        else:
            others.append(argument)
    return folders, others


def taken(arguments: Sequence[str], key: str) -> tuple[list[str], list[str]]:
    """Take ``key=value`` out: the values, and the rest.

    A value in quotes is what Hydra makes of it, as of ``run_dir='…'``; any other is taken as it is.

    Raises:
        UserError: if a quote has no end.
    """
    values, others = [], []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name != key:
            others.append(argument)
            continue
        if value[:1] in ("'", '"'):
            (override,) = parsed([argument])
            value = str(override.value())
        values.append(value)
    return values, others


def parsed(arguments: Sequence[str]) -> list[Override]:
    """Read ``key=value`` as Hydra does. Raises UserError where it cannot be read."""
    try:
        read: list[Override] = OverridesParser.create().parse_overrides(list(arguments))
    except HydraException as error:
        raise translate(error) from error
    return read
