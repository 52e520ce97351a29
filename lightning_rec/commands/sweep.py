"""``lightning-rec sweep FOLDER``: the table of a sweep, at any time."""

import shlex
from pathlib import Path

from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError, listed
from lightning_rec.runs.sweeps import PLAN, never_began
from lightning_rec.screen import Screen

_NAMED = 20  # jobs that are named; of more the number is told
HELP = """\
The table of all jobs in the folder of a sweep, while it runs or after, what
became of each job that is not completed, and which never began, with the
command that goes on; exit 1 if there is such a job.

usage: lightning-rec sweep FOLDER

A sweep is made by 'lightning-rec train -m'. The same command with the same
run_dir= again skips what is completed, goes on with what was cut and tries
again what failed; other values or seeds add to the table.

Examples:
  lightning-rec train -m model.dim=32,64 seed=1,2 run_dir=runs/dim
  lightning-rec sweep runs/dim
  lightning-rec sweep runs/dim && lightning-rec report runs/dim
"""


def run(arguments: list[str]) -> int:
    """Print the table; 1 if a job is not completed or never began. Raises UserError if there is
    no sweep.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise UserError("Say which sweep: lightning-rec sweep FOLDER")
    folder = Path(arguments[0])
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    missing = never_began(folder)
    if not missing and not any(folder.glob("*/run.json")):
        runs = (*folder.glob("best/*/run.json"), *folder.glob("*/best/*/run.json"))
        if found := sorted({card.parents[1] for card in runs}):
            told = " and ".join(f"lightning-rec sweep {shlex.quote(str(each))}" for each in found)
            raise UserError(
                f"{folder} is of 'lightning-rec tune', whose best trial's runs are a sweep below "
                f"it: {told}. 'lightning-rec report {folder}' shows the trials."
            )
        raise UserError(
            f"{folder} holds no runs: a sweep is what 'lightning-rec train -m … run_dir=FOLDER' "
            "fills."
        )
    with loading():
        from lightning_rec.reports.sweep import show_sweep
    jobs = show_sweep(folder)
    _tell(folder, missing)
    if failed := [str(folder / job["folder"]) for job in jobs if job["status"] == "failed"]:
        told = f"If what failed is not wanted any more, remove {listed(failed, _NAMED)}."
        Screen().print(told, highlight=False, soft_wrap=True)
    return int(bool(missing) or any(job["status"] != "completed" for job in jobs))


def _tell(folder: Path, missing: dict[str, list[str]]) -> None:
    """Print the jobs that never began, and the command that goes on with them."""
    told = [
        f"never began: {listed(names, _NAMED)}\nto go on: {command}"
        for command, names in missing.items()
    ]
    if told:
        told.append(f"If they are not wanted any more, remove {folder / PLAN}.")
    for line in told:
        Screen().print(line, highlight=False, soft_wrap=True)
