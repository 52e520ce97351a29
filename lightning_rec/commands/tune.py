"""``lightning-rec tune``: a search for good settings, and the best of them trained over seeds."""

import shlex
from pathlib import Path

from lightning_rec.commands.hydra_main import parsed, take_key, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.searching import Search
from lightning_rec.commands.usage import config_folders
from lightning_rec.errors import UserError, import_extra, listed, nearest
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
Search for good settings: trials are drawn, trained and judged by the monitored
figure of validation alone, whatever their test; the best one is written as an
experiment file and trained over seeds. A setting that is named is not drawn.

usage: lightning-rec tune OVERRIDES trials=N [minutes=N] [space=NAME|FILE]
                          [sampler=tpe|random|grid] [pruner=none|median|asha]
                          [objectives=[FIGURE,...]] [seeds=1,2,3] [to=FOLDER]

The space is that of the model, conf/search/MODEL.yaml, or a YAML file of
ranges. model=A,B searches for each model with the same number of trials, or
processor minutes. A search that was killed goes on when the same command is
given again, with to= its folder; several may work on it at once. objectives=
names figures, or costs such as cost.epoch_seconds, to be weighed against each
other: the table has those that no other trial beats.

Examples:
  lightning-rec tune data=ml_100k model=sasrec trials=30 to=runs/tune
  lightning-rec tune data=ml_100k model=itemknn,ease,bprmf trials=20 seeds=1,2,3
  lightning-rec tune experiment=sasrec_ml1m space=my_space.yaml trials=50 \\
    pruner=median minutes=600
"""
KEYS = ("trials", "minutes", "space", "sampler", "pruner", "objectives", "seeds", "to")


def run(arguments: list[str]) -> int:
    """Search, then train the best over seeds; 1 if a search found nothing. Raises UserError."""
    import_extra("optuna", "tune", "tune")
    folders, arguments = config_folders(arguments)
    said, arguments = take_keys(arguments, *KEYS)
    if flags := [each for each in arguments if each.startswith("-")]:
        raise UserError(
            f"tune takes no {flags[0]}: 'lightning-rec tune --help' shows what it takes."
        )
    for key, known in (
        ("sampler", ("tpe", "random", "grid")),
        ("pruner", ("none", "median", "asha")),
    ):
        if said.get(key, known[0]) not in known:
            hint = nearest(said[key], known)
            raise UserError(f"{key}={said[key]}: it is one of {listed(known)}.{hint}")
    with loading():
        from lightning_rec.commands.sweeping import sweep_folder
    root = Path(said.get("to", sweep_folder().replace("_sweep", "_tune")))
    models, others = _models(arguments)
    jobs = [
        Search([*others, *([f"model={model}"] if model else [])], root / model, folders, said)
        for model in models
    ]
    if "trials" not in said and "minutes" not in said:
        raise UserError("Say how long: trials=30, or minutes=60 of processor time.")
    rows = [job.run() for job in jobs]  # all were checked before the first begins
    shown = FittedTable(
        "Equal budgets; best by validation, the test has no say",
        [
            *text("search"),
            *figures("trials", "pruned", "failed", "CPU minutes", "best"),
            *text("settings"),
        ],
    )
    for row in rows:
        shown.add_row(*row)
    console = Screen()
    console.print(shown)
    for job in jobs:
        if job.best is not None:
            folders = [*job.config_dirs, job.folder / "conf"]
            flags = [word for folder in folders for word in ("--config-dir", str(folder))]
            told = shlex.join(["lightning-rec", "train", *flags, "experiment=best"])
            console.print(f"To train the best: {told}", highlight=False, soft_wrap=True)
    return int(any(job.best is None and not job.is_left for job in jobs))


def _models(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The models of ``model=A,B``, each to be searched for; and the other overrides."""
    for each in parsed(arguments):
        if each.is_sweep_override() and each.key_or_group != "model":
            raise UserError(f"{each.input_line}: tune draws values from its space; name one here.")
    values, others = take_key(arguments, "model")
    if len(values) > 1:
        raise UserError(f"model= is said {len(values)} times: say it once.")
    return (values[0].split(",") if values else [""]), others
