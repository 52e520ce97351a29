"""Hydra's command line: its overrides and flags, and its main with our errors."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lightning_rec import trust
from lightning_rec.commands import CONFIG_DIR, take_flag
from lightning_rec.composing import checked
from lightning_rec.config import check_choices, translate
from lightning_rec.errors import UserError


def hydra_main(task: Callable[[DictConfig], Any], arguments: list[str]) -> None:
    """Compose overrides and Hydra's flags; run ``task`` once, or, with -m, once per job."""
    for argument in arguments:
        _check_flag(argument)
    check_choices([each for each in arguments if not each.startswith("-")])
    failures: list[Exception] = []
    trusted, here = trust.named(), os.getpid()

    def quietly(cfg: DictConfig) -> None:
        """Keep the error for later: Hydra would print its own line before ours."""
        try:
            trust.trust(trusted)  # a launcher may run this in another process
            task(cfg)
        except Exception as error:
            known = translate(error) if isinstance(error, OmegaConfBaseException) else error
            failures.append(known)
            if os.getpid() != here:  # the launcher brings it to the command
                raise UserError(str(known)) if isinstance(known, UserError) else known from error

    argv = sys.argv
    flags, overrides = _one_folder(*parted(arguments))
    sys.argv = [argv[0], *flags, *overrides]  # Hydra's parser refuses flags between overrides
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing and exiting
    try:
        main = hydra.main(
            version_base="1.3", config_path=str(trust.config_dir()), config_name="train"
        )
        with checked(own_folders=any(flag.startswith(("-cd", "--config-d")) for flag in flags)):
            main(quietly)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise translate(error) from error
    except OSError as error:  # Hydra makes the folder before anything else is known
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"run_dir cannot be made, {reason}: {error.filename}. Choose another one, run_dir=…."
        ) from error
    finally:
        sys.argv = argv
    if failures:
        raise failures[0]


def _one_folder(flags: list[str], overrides: list[str]) -> tuple[list[str], list[str]]:
    """The same with one ``--config-dir``, as Hydra takes; further ones are in its search path."""
    folders, others = take_flag(flags, *CONFIG_DIR)
    if len(folders) < 2:
        return flags, overrides
    paths = ",".join(f"file://{Path(folder).absolute()}" for folder in folders[1:])
    return [*others, CONFIG_DIR[0], folders[0]], [f"hydra.searchpath=[{paths}]", *overrides]


def _check_flag(argument: str) -> None:
    """Refuse flags of Hydra that read a pickle, go round our own configs or are not for verbs."""
    flag = argument.partition("=")[0]
    if flag.startswith(("-sc", "--shell-completion")):
        raise UserError(
            "Hydra's shell completion knows one command without verbs. Ours is "
            "'lightning-rec completion bash', zsh or fish."
        )
    if len(flag) > 3 and "--experimental-rerun".startswith(flag):  # argparse takes beginnings
        raise UserError(f"{flag} reads a pickle, which can run code: use resume=FOLDER instead.")
    for option in ("--config-path", "--config-name"):
        if flag in ("-cp", "-cn") or (len(flag) > 9 and option.startswith(flag)):
            raise UserError(
                f"{flag} would replace the configs of lightning_rec: name a folder of your own "
                "beside them, by --config-dir FOLDER."
            )
    if "searchpath" in argument and "pkg:" in argument:
        raise UserError(
            f"{argument}: a package would be imported for its configs. Name a folder, by "
            "--config-dir FOLDER."
        )


def take_key(arguments: Sequence[str], key: str) -> tuple[list[str], list[str]]:
    """Take ``key=value`` out: the values, read as Hydra does if in quotes, and the rest."""
    values, others = [], []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name != key:
            others.append(argument)
        elif value[:1] in ("'", '"'):
            values.append(str(parsed([argument])[0].value()))
        else:
            values.append(value)
    return values, others


def take_keys(arguments: Sequence[str], *keys: str) -> tuple[dict[str, str], list[str]]:
    """Take each ``key=value`` out: the values by key, and the rest.

    Raises UserError if one is said twice.
    """
    said, rest = dict[str, str](), list(arguments)
    for key in keys:
        values, rest = take_key(rest, key)
        if len(values) > 1:
            raise UserError(f"{key}= is said {len(values)} times: say it once.")
        said |= dict(zip((key,), values, strict=False))
    return said, rest


def parsed(overrides: Sequence[str]) -> list[Override]:
    """Read overrides as Hydra does. Raises UserError where one cannot be read."""
    try:
        read: list[Override] = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise translate(error) from error
    return read


def parted(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        (flags if argument.startswith("-") else overrides).append(argument)
        if argument in _WITH_VALUE:
            flags.append(next(rest, ""))
    return flags, overrides


_WITH_VALUE = (
    *CONFIG_DIR,
    *("--config-name", "-cn", "--config-path", "-cp", "--package", "-p", "--cfg", "-c"),
)
