"""``--help`` of the verbs; those that take overrides list the config groups and their choices."""

import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path

from lightning_rec.commands import CONFIG_DIR, take_flag
from lightning_rec.trust import config_dir

GROUPS = "{groups}"  # in the help of a verb: where the groups are listed


def config_folders(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """Take the folders of ``--config-dir`` out: the folders, and the other arguments."""
    folders, others = take_flag(arguments, *CONFIG_DIR)
    return [Path(folder) for folder in folders], others


def choices(folders: Iterable[Path] = ()) -> dict[str, set[str]]:
    """The choices of each config group, those in further ``folders`` included."""
    groups: dict[str, set[str]] = {}
    for path in (each for folder in (config_dir(), *folders) for each in folder.glob("*/*.yaml")):
        if path.parent.name != "search":  # ranges of 'tune', which are not composed
            groups.setdefault(path.parent.name, set()).add(path.stem)
    return groups


def usage(text: str, arguments: list[str]) -> str:
    """The help of a verb, with the config groups and their choices in place of ``{groups}``."""
    if GROUPS not in text:
        return text
    groups = choices(config_folders(arguments)[0])
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
    told = f"""\
Groups and their choices (GROUP=CHOICE; any value below by GROUP.KEY=VALUE):
{listed}

Also: seed= run_dir= baseline= monitor=, Hydra's -m (sweep) and
--config-dir FOLDER (your own configs), --traceback.
'lightning-rec show' prints every key with its value."""
    return text.replace(GROUPS, told)
