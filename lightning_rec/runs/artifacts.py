"""Files of a run that trackers keep, and the runs that it was built of.

Config, card and figures, and with ``artifact: weights`` what :func:`~lightning_rec.load_run` needs
as well: a run folder without the users of the test, and without addresses.
"""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from omegaconf import OmegaConf

from lightning_rec import config
from lightning_rec.adapters.base import TUNED
from lightning_rec.documents import leaves, read_json, read_yaml
from lightning_rec.files import write_json, write_text
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import FOLDERS, unaddressed
from lightning_rec.runs.parts import PARTS

log = logging.getLogger(__name__)

Kept = Literal["none", "card", "weights"]
WEIGHTS = ("weights.safetensors", TUNED, "items.parquet")


def stage(run: RunFolder, folder: Path, kept: Kept) -> dict[str, Path]:
    """Put the files that are kept of a run into ``folder``; their paths by name.

    Large ones are linked where the disk can: a run that is trained further replaces its files, and
    those that were staged stay what they were.
    """
    names = ["config.yaml", "run.json", "metrics.json"]
    if kept == "weights":
        inner = (path for path in (run.path / PARTS).rglob("*") if path.is_file())
        names += [*WEIGHTS, *(path.relative_to(run.path).as_posix() for path in inner)]
    staged = {name: folder / name for name in names if (run.path / name).is_file()}
    for name, path in staged.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy(run.path / name, path)
    for path in staged.values():  # a part has checksums of its own
        if path.parent != folder and path.name in ("config.yaml", "run.json"):
            checksums.record(path.parent, path, path.name)
    for name, path in staged.items():
        checksums.record(folder, path, name)
    return staged | {checksums.NAME: folder / checksums.NAME}


def _copy(path: Path, to: Path) -> None:
    if path.name == "config.yaml":
        write_text(to, OmegaConf.to_yaml(OmegaConf.create(unaddressed(read_yaml(path)))))
    elif path.name == "run.json":
        write_json(to, unaddressed(read_json(path)))
    else:
        with contextlib.suppress(OSError):  # another disk, or one without links
            os.link(path, to)
            return
        shutil.copyfile(path, to)


class Used(NamedTuple):
    """A run that another one was built of: its W&B project, and its ids by the tracker's name."""

    project: str
    ids: Mapping[str, str]


def used(run: RunFolder) -> dict[str, Used]:
    """The runs that the config of a run names, such as ``encoder.run`` or ``model.first``."""
    found = {}
    for key, value in leaves(config.plain(run.config)):
        if key.rpartition(".")[2] not in FOLDERS or not isinstance(value, str):
            continue
        named = Path(value).expanduser()
        # A language model lies in the folder of the run that trained it.
        for folder in (run.path / PARTS / key, named, named.parent):
            if value and (folder / "run.json").is_file() and folder != run.path:
                ids = read_json(folder / "run.json").get("trackers") or {}
                known = read_yaml(folder / "config.yaml").get("tracking") or {}
                found[key] = Used(str(known.get("project")), {n: str(ids[n]) for n in ids})
                break
    return found


def use_at_wandb(own: Any, built_of: Mapping[str, Used]) -> None:
    """Make the artifacts of other runs the inputs of W&B's run ``own``.

    W&B takes no inputs offline: the config names them in any case, under ``uses``.
    """
    from wandb.errors import CommError

    inputs = {
        key: f"{each.project}/{_called(each.ids['wandb'])}"
        for key, each in built_of.items()
        if "wandb" in each.ids
    }
    own.config.update({"uses": inputs}, allow_val_change=True)
    for key, name in inputs.items() if not own.offline else ():
        try:
            own.use_artifact(f"{name}:latest")
        except (CommError, ValueError) as error:
            reason = str(error).splitlines()[0]
            log.warning("W&B has no artifact of the run that %s names yet. %s", key, reason)


def use_at_mlflow(client: Any, run_id: str, built_of: Mapping[str, Used]) -> None:
    """Name other runs in the tags of MLflow's run."""
    for key, each in built_of.items():
        if "mlflow" in each.ids:
            client.set_tag(run_id, f"uses/{key}", each.ids["mlflow"])


def keep_at_wandb(own: Any, run: RunFolder, kept: Kept) -> None:
    """Log the files of a run as the artifact of W&B's run ``own``."""
    import wandb

    facts = ("config_hash", "data_hash", "protocol_hash", "seed")
    metadata = {key: run.card[key] for key in facts if key in run.card}
    artifact = wandb.Artifact(_called(own.id), type="training", metadata=metadata)
    # Beside what W&B itself keeps of the run, where they stay until they are sent.
    for name, path in stage(run, Path(own.dir).parent / "artifact", kept).items():
        artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)
    own.log_artifact(artifact)


def keep_at_mlflow(client: Any, run_id: str, run: RunFolder, kept: Kept) -> None:
    """Log the files of a run as artifacts of MLflow's run, below ``run/``."""
    with tempfile.TemporaryDirectory() as folder:
        stage(run, Path(folder) / "run", kept)
        client.log_artifacts(run_id, folder)


def _called(run_id: str) -> str:
    return f"training-{run_id}"
