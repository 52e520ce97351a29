"""The run folder: everything needed to repeat, resume, compare and use one training.

``config.yaml``, ``overrides.yaml``  what was composed, and what was asked for
``run.json``                         the provenance card, with status, times and peak memory
``metrics.json``                     flat figures, float64
``test_users.parquet``               per user: rank of the target, candidates, history length
``weights.safetensors``              the model at its best validation figure
``items.parquet``                    item code -> raw id and catalogue columns
``checkpoints/``                     tensors and plain values, for resume
``checksums.json``                   SHA-256 of what is read again
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import torch
from omegaconf import DictConfig, OmegaConf

from lightning_rec import config, trust
from lightning_rec.documents import check_folder, check_places, config_yaml, read_config, read_json
from lightning_rec.errors import UserError, nearest
from lightning_rec.files import atomic_path, sha256_json, write_json, write_text
from lightning_rec.language.hub import find_model, fingerprint, pretrained_of
from lightning_rec.passwords import hidden
from lightning_rec.runs import card, checksums, provenance, weights
from lightning_rec.runs.checkpoints import LAST, PREVIOUS
from lightning_rec.runs.distributed import is_first

log = logging.getLogger(__name__)

STARTED_WITH = ("config.yaml", "overrides.yaml", "run.json")
# What a resumed run keeps of its card: hashes that must not change, and the runs of trackers.
_KEPT = "data_hash catalogue_hash side_hash protocol_hash partial language_hash trackers"


class RunFolder:
    """A folder of one run. Only process 0 writes; every file appears whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.card: dict[str, Any] = {}
        self._composed: DictConfig | None = None  # by this process, hence checked already
        self.seconds: dict[str, float] = {}  # wall time of each part
        self._cpu_before = time.process_time()  # of the jobs before it, in a sweep
        self.earlier_cpu_seconds = 0.0  # of what this process goes on from

    def __repr__(self) -> str:
        return f"RunFolder({self.path}, {self.card.get('status')})"

    @classmethod
    def create(cls, path: Path, cfg: DictConfig, overrides: list[str]) -> "RunFolder":
        """Start a run in ``path``. Raises UserError if a run lies there already."""
        run = cls(path)
        if is_first():
            if (run.path / "run.json").exists():
                raise cls.open(path)._occupied()
            try:
                run._start(cfg, overrides)
            except OSError:  # a full disk
                run.withdraw()
                raise
        return run

    def _occupied(self) -> UserError:
        """The error where the folder holds a run already, with what to do."""
        status, again = self.card.get("status"), f": lightning-rec train resume={self.path}"
        if status == "completed" and not self.can_resume:
            more = "it is completed. Choose another folder"
        elif status == "completed":
            more = "it is completed. Choose another folder, or train it further with a higher "
            more += f"trainer.max_epochs{again}"
        else:
            killed = "it was killed" if status == "running" else f"it is {status}"
            more = f"{killed}. Go on with it, or choose another folder{again}"
        return UserError(f"run_dir={self.path} already holds a run, and {more}.")

    def refuse(self, cfg: DictConfig, overrides: list[str], error: Exception) -> None:
        """Record a job of a sweep that failed before it could start."""
        if not (self.path / "run.json").exists():
            self._start(cfg, overrides)
            self.finish("failed", error)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run. Raises UserError if ``path`` is none, or links to other folders."""
        run = cls(path)
        if not path.is_dir():
            siblings = [str(entry) for entry in path.parent.glob("*") if entry.is_dir()]
            raise UserError(f"There is no folder {path}.{nearest(str(path), siblings)}")
        missing = [name for name in ("config.yaml", "run.json") if not (path / name).is_file()]
        if missing:
            raise card.no_run(path, missing)
        check_folder(run.path)
        run.card = run._json("run.json")
        card.check(path / "run.json", run.card, card.Card)
        checksums.verify(run.path, "run.json")
        return run

    def withdraw(self) -> None:
        """Undo :meth:`create`, where a run was refused before it had anything worth keeping."""
        if is_first():
            for name in (*STARTED_WITH, "train.log", checksums.NAME):
                (self.path / name).unlink(missing_ok=True)
        self.card = {}

    def check_completed(self, key: str) -> None:
        """Raises UserError, with the key that names the run, unless it is completed."""
        if self.card.get("status") != "completed":
            raise UserError(
                f"{key}={self.path} is {self.card.get('status')}, not completed: go on with it "
                f"first, resume={self.path}."
            )

    def check_language(self, cfg: DictConfig | None = None) -> str | None:
        """SHA-256 of the files of the pretrained models, of language or vision, of ``cfg``, or of
        the run; None without one.

        Raises UserError if they are missing, or not those that the run was made with.
        """
        cfg, then = cfg or self.config, self.card.get("language_hash")
        found = [fingerprint(find_model(name)) for name in pretrained_of(cfg)]
        now = sha256_json(found) if len(found) > 1 else next(iter(found), None)
        if now and then and now != then:
            raise UserError(
                f"{self.path} was made with another language model than the one that is here now "
                f"({then[:12]}, here {now[:12]}): bring back its files, or train anew."
            )
        return now

    def resume(self, cfg: DictConfig, overrides: list[str], until: dict[str, Any]) -> None:
        """Go on under ``cfg``; ``until`` says how far the run went under which settings."""
        if is_first():
            earlier = self.card.get("earlier", [])
            kept = {key: self.card.get(key) for key in ("started", "finished", "status", "commit")}
            begun = {key: self.card[key] for key in _KEPT.split() if key in self.card}
            self._start(cfg, [*self.card.get("overrides", []), *overrides])
            self.note(earlier=[*earlier, kept | until], **begun)

    def start_over(self) -> None:
        """Leave out what checkpoints there are: a training begins anew."""
        for path in (self.path / "checkpoints").glob("*.ckpt") if is_first() else ():
            path.unlink()
            checksums.forget(self.path, path.relative_to(self.path).as_posix())

    def _start(self, cfg: DictConfig, overrides: list[str]) -> None:
        provenance.forget_peak_memory()
        self._composed, said = cfg, hidden(overrides)
        self.card = provenance.card() | {"overrides": said}
        write_text(self.path / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(said)))
        with self.writing("config.yaml") as temporary:
            write_text(temporary, config_yaml(cfg))
        apart = ("run_dir", "name", "logger", "tracking", "examples", "callbacks")
        figures = {key: each for key, each in config.plain(cfg).items() if key not in apart}
        self.note(
            status="running",
            started=provenance.now(),
            seed=cfg.seed,
            config_hash=sha256_json(figures),
            seconds=self.seconds,
        )

    def note(self, **facts: Any) -> None:
        """Add facts to the provenance card and write it."""
        self.card |= facts
        self.save("run.json", lambda path: write_json(path, self.card))

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Close the card: ``completed``, ``failed`` or ``interrupted``."""
        if vram := provenance.vram():  # epochs before the run was gone on with included
            cost = self.card.get("cost") or {}
            training = cost.get("epochs", 0) * cost.get("epoch_seconds", 0.0)
            training = training or self.seconds.get("fit", 0.0)
            vram["gpu_seconds"] = round(training + self.seconds.get("evaluate", 0.0), 1)
        self.note(
            status=status,
            finished=provenance.now(),
            cpu_seconds=round(self.earlier_cpu_seconds + time.process_time() - self._cpu_before, 1),
            peak_memory_mib=provenance.peak_memory_mib(),
            **vram,
            error=hidden(f"{type(error).__name__}: {error}") if error is not None else None,
        )

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Time a part of the run, wall seconds, into the card."""
        start = time.perf_counter()
        yield
        self.seconds[part] = round(self.seconds.get(part, 0.0) + time.perf_counter() - start, 2)

    @property
    def is_own(self) -> bool:
        """Whether its config was composed here, and not found in the folder."""
        return self._composed is not None

    @property
    def config(self) -> DictConfig:
        """The resolved config. Raises UserError if it cannot be read, or names what it may not."""
        if self._composed is not None:
            return self._composed.copy()
        path = self.path / "config.yaml"
        cfg = read_config(path)
        tree = OmegaConf.to_container(cfg, resolve=False)
        trust.check_saved(path, tree)
        check_places(self.path, tree)
        checksums.verify(self.path, "config.yaml")
        return cfg

    @property
    def metrics(self) -> dict[str, float]:
        """The figures. Raises UserError if the run never got that far, or if they were changed."""
        figures = self._json("metrics.json")
        checksums.verify(self.path, "metrics.json")
        if not figures:
            raise UserError(f"{self.path / 'metrics.json'} holds no figures.")
        return figures

    @property
    def can_resume(self) -> bool:
        """Whether anything was kept of a training."""
        return any((self.path / name).is_file() for name in (LAST, PREVIOUS))

    def last_checkpoint(self) -> Path | None:
        """The latest checkpoint that is sound, if any. Raises UserError if all are broken."""
        found = [name for name in (LAST, PREVIOUS) if (self.path / name).is_file()]
        for number, name in enumerate(found):
            if checksums.sound(self.path, name):
                return self.path / name
            further = [f"going on from {other} before it" for other in found[number + 1 :]]
            told = ", ".join([f"{self.path / name} is not as the run wrote it", *further])
            if not further:
                raise UserError(
                    f"{told}, nor is any before it: bring the file back, or train anew in another "
                    "folder."
                )
            log.warning("%s.", told)
        return None

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary name that becomes ``name``, its hash known, if the block succeeds."""
        with atomic_path(self.path / name) as temporary:
            yield temporary
            checksums.record(self.path, temporary, name)

    def save(self, name: str, write: Callable[[Path], Any]) -> None:
        """Write a file by a function of its temporary path, on process 0."""
        if is_first():
            with self.writing(name) as temporary:
                write(temporary)

    def save_model(self, model: torch.nn.Module) -> None:
        """Write the weights as safetensors."""
        self.save("weights.safetensors", lambda path: weights.write(path, model))

    def load_model(self, model: torch.nn.Module, known: int | None = None) -> None:
        """See :func:`~lightning_rec.runs.weights.read`. Raises UserError if they are missing."""
        path, status = self.path / "weights.safetensors", self.card.get("status")
        if not path.is_file():
            more = f"this run is {status}: go on with it, resume={self.path}"
            told = "bring the file back" if status == "completed" else more
            raise UserError(f"{path} is missing: {told}.")
        checksums.verify(self.path, path.name)
        weights.read(path, model, known)

    def save_metrics(self, figures: dict[str, float]) -> None:
        """Write ``metrics.json``, sorted by name."""
        self.save("metrics.json", lambda path: write_json(path, dict(sorted(figures.items()))))

    def save_table(self, name: str, table: pl.DataFrame) -> None:
        """Write a Parquet file."""
        self.save(f"{name}.parquet", table.write_parquet)

    def table(self, name: str) -> pl.DataFrame:
        """Read what :meth:`save_table` wrote. Raises UserError if it is missing or broken."""
        path = self.path / f"{name}.parquet"
        if path.is_file():
            checksums.verify(self.path, path.name)
        try:
            return pl.read_parquet(path, glob=False)
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} cannot be read: {reason}.") from error

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.is_file():
            raise UserError(f"{path} is missing: this run is {self.card.get('status')}.")
        value = read_json(path)
        if not isinstance(value, dict):
            raise UserError(f"{path} holds {type(value).__name__}, not an object of keys.")
        return value
