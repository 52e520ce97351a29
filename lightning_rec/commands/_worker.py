"""``lightning-rec _worker TASK FOLDER``: a further process of a training or an evaluation.

The first process starts it; it is not for people.
"""

from pathlib import Path

from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError


def run(arguments: list[str]) -> int:
    """Join what the first process does in a run folder: ``train`` or ``evaluate`` it."""
    if len(arguments) < 2 or arguments[0] not in ("train", "evaluate"):
        raise UserError("_worker is started by a training of several processes, not by people.")
    task, folder, *overrides = arguments
    with loading():
        from lightning_rec import training

    if task == "evaluate":
        training.evaluate(Path(folder), overrides)
    else:
        training.worker(Path(folder))
    return 0
