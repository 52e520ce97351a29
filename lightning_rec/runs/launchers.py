"""What Hydra's launchers make of a sweep: how many jobs run at once, where, on how many cores."""

import os
import secrets
import shutil
from importlib import import_module
from typing import Any, NamedTuple

from omegaconf import DictConfig, open_dict

from lightning_rec import threads
from lightning_rec.errors import UserError

_OBJECTS = 78643200  # bytes of Ray's object store, the least it takes, as Hydra's launcher has it


class Launched(NamedTuple):
    """How the jobs of a sweep run."""

    by: str  # the name of the launcher's class
    at_once: int  # jobs, at most
    fewer: str  # what to say for fewer jobs at once
    cores: int | None = None  # that each job is granted; None: they divide those of the machine

    @property
    def here(self) -> bool:
        """Whether jobs run in the process of the command, one after the other."""
        return self.by == "BasicLauncher"

    @property
    def outlive(self) -> bool:
        """Whether jobs belong to a scheduler, and go on where the command is gone."""
        return self.by not in ("BasicLauncher", "JoblibLauncher", "LocalLauncher", "RayLauncher")


def launched(hydra: DictConfig, jobs: int) -> Launched:
    """How ``jobs`` run that are not done. ``hydra``: Hydra's part of the composed config."""
    launcher = hydra.launcher
    by = str(launcher.get("_target_", "BasicLauncher")).rpartition(".")[2]
    batch = hydra.get("sweeper", {}).get("max_batch_size") or jobs
    jobs = max(1, min(jobs, batch))
    if by == "JoblibLauncher" and (number := launcher.n_jobs) == 1:  # in the same process
        return Launched("BasicLauncher", 1, "")
    if by == "JoblibLauncher":
        at_once = number if number > 0 else max(1, (os.cpu_count() or 1) + 1 + number)
        return Launched(by, min(jobs, at_once), f"hydra.launcher.n_jobs={_fewer(jobs, at_once)}")
    if by == "LocalLauncher":  # submitit starts them all
        fewer = f"hydra.sweeper.max_batch_size={_fewer(jobs, jobs)}"
        return Launched(by, jobs, fewer, launcher.cpus_per_task)
    if by == "SlurmLauncher":
        at_once = min(jobs, launcher.array_parallelism)
        return Launched(by, at_once, "hydra.launcher.mem_gb=…", launcher.cpus_per_task)
    if by == "RayLauncher":
        cores = launcher.ray.remote.get("num_cpus", 1)
        there = launcher.ray.init.get("num_cpus") or os.cpu_count() or 1
        at_once = min(jobs, int(there // cores)) if cores else jobs
        fewer = f"+hydra.launcher.ray.init.num_cpus={_fewer(jobs, at_once)}"
        return Launched(by, max(1, at_once), fewer, max(1, int(cores)))
    return Launched(by, 1, "hydra/launcher=basic")


def _fewer(jobs: int, at_once: int) -> int:
    return max(1, min(jobs, at_once) // 2)


def share(how: Launched, hydra: DictConfig) -> None:
    """Divide the cores among the jobs that run at once."""
    if how.by == "JoblibLauncher":
        threads.share(jobs=hydra.launcher.n_jobs)
    elif how.cores is not None or how.outlive:  # of a scheduler, whose own variables tell
        threads.share(jobs=1, granted=how.cores)
    else:
        threads.share(jobs=how.at_once)


def prepare(hydra: Any, how: Launched) -> None:
    """Set what launchers leave open, before they are made. Raises UserError if one cannot be.

    Pickles of submitit go to a folder that nobody has written before: in that of a sweep somebody
    else's could lie, and a pickle is code.
    """
    launcher, by = hydra.launcher, how.by
    if by == "SlurmLauncher" and shutil.which("srun") is None:
        raise UserError(
            "hydra/launcher=submitit_slurm: there is no srun here. Give the command on a node that "
            "submits jobs to SLURM; hydra/launcher=submitit_local does the same on this machine."
        )
    if by in ("LocalLauncher", "SlurmLauncher"):
        folder = f"{hydra.sweep.dir}/.submitit"
        if launcher.submitit_folder == f"{folder}/%j":
            launcher.submitit_folder = f"{folder}/{secrets.token_hex(8)}/%j"
    elif by == "JoblibLauncher":
        if not launcher.n_jobs:
            raise UserError(
                "hydra.launcher.n_jobs=0: say how many jobs run at once; -1 is all cores."
            )
        launcher.n_jobs = max(2, how.at_once)  # it would start a process for each of n_jobs
        # It would start these later, which lets Ctrl-C through again.
        for package in ("multiprocessing", "joblib.externals.loky.backend"):
            import_module(f"{package}.resource_tracker").ensure_running()
    elif by == "RayLauncher":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a job tells nobody that it runs
        with open_dict(launcher.ray.init):
            launcher.ray.init.setdefault("log_to_driver", False)  # train.log has it


def start(hydra: Any, how: Launched) -> bool:
    """Start what the launcher would, where that puts handlers of signals in place; whether it did.

    Ray's end the command on SIGTERM, with its jobs, before they have written a checkpoint.
    """
    if how.by != "RayLauncher":
        return False
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

    with open_dict(hydra.launcher.ray.init):
        hydra.launcher.ray.init.setdefault("object_store_memory", _OBJECTS)
    start_ray(hydra.launcher.ray.init)
    return True
