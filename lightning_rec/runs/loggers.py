"""The trackers that ``logger=`` chooses, as Lightning's loggers with figures in sections.

Sections are what stands before the first slash of a name, as W&B, TensorBoard and MLflow show them:
``train``, ``val`` and ``test`` for what is compared, ``slices``, ``baseline`` and ``cost`` for the
rest. wandb and mlflow are slow to import, so they are imported when they are used.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import PositiveFloat
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_rec.errors import import_extra
from lightning_rec.figures import Name, parsed
from lightning_rec.passwords import whole
from lightning_rec.runs.artifacts import Kept
from lightning_rec.runs.distributed import is_first
from lightning_rec.runs.foreign import VARIABLE, unaddressed

log = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled"]
OWN = ("best", "trainer")  # sections of the trackers themselves
COST = ("epoch_seconds",)  # of what is logged while training
STEP = "trainer/global_step"  # what Lightning calls the x axis


def sectioned(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures under the names of their sections, sorted."""

    def placed(name: str, parts: Name) -> str:
        if parts.figure in COST:
            return f"cost/{parts.figure}"
        if parts.model in OWN:
            return name
        return f"{'slices/' if parts.slice else 'baseline/' if parts.model else ''}{name}"

    return dict(sorted((placed(n, parts), figures[n]) for n, parts in parsed(figures).items()))


def compared(figures: Mapping[str, float]) -> dict[str, float]:
    """Those of :func:`sectioned` figures that runs are compared by: of validation and test."""
    return {
        name: figures[name]
        for name, each in parsed(figures).items()
        if each.stage in ("val", "test") and not each.model
    }


class Sectioned(Logger):
    """A logger of figures under the names of their sections; see :func:`sectioned`."""

    cutoff = "@"  # how cut-offs are written

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures over Lightning's step."""
        named = {name.replace("@", self.cutoff): each for name, each in sectioned(metrics).items()}
        super().log_metrics(named, step)  # type: ignore[safe-super]


class SectionedWandb(Sectioned, WandbLogger):
    """W&B's logger; ``artifact``: the files that go with a run."""

    artifact: Kept = "none"


class SectionedTensorBoard(Sectioned, TensorBoardLogger):
    """TensorBoard's logger. Hyper-parameters come with the final figures."""


class SectionedMLFlow(Sectioned, MLFlowLogger):
    """MLflow's logger, whose names take no @: ``val/ndcg_at_10``."""

    cutoff = "_at_"
    artifact: Kept = "none"  # the files that go with a run

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any]) -> None:  # type: ignore[override]
        """Log settings. What a resumed run changed becomes tags: MLflow keeps the first values."""
        settings, known = dict(_flat(params)), self.experiment.get_run(self.run_id).data.params
        super().log_hyperparams({key: value for key, value in settings.items() if key not in known})
        for key, value in settings.items():
            if known.get(key, value) != value:
                self.experiment.set_tag(self.run_id, f"resumed/{key}", value)


def wandb_logger(
    save_dir: Path,
    project: str = "lightning_rec",
    name: str | None = None,
    group: str | None = None,
    tags: tuple[str, ...] = (),
    job_type: str = "train",
    run_id: str | None = None,
    mode: Literal["auto", "online", "offline", "disabled"] = "auto",
    timeout: PositiveFloat = 30.0,
    artifact: Kept = "card",
) -> WandbLogger:
    """Make a W&B logger, whose files go to ``wandb/`` in ``save_dir``, the run folder.

    ``name``: of the run; None takes that of its folder. ``run_id``: under which a resumed run goes
    on; None begins a new one. ``mode``: ``auto`` follows ``WANDB_MODE`` if set; else it is online
    if there is an API key (in the environment or from ``wandb login``), and offline if there is
    none. ``timeout``: seconds to wait for W&B at the start of a run, which is offline after that,
    and at its end, after which what was not sent stays in the run folder. ``artifact``: the files
    that go with a completed run: ``none``, its config, ``card`` and figures, or ``weights`` too,
    with the catalogue.
    """
    run, chosen = None, wandb_mode() if mode == "auto" else mode
    if is_first():
        run = _begin_wandb(
            chosen,
            timeout,
            name=name or save_dir.name,
            dir=str(save_dir),  # versions before 0.19.3 take no path
            project=project,
            group=group,
            tags=tags,
            job_type=job_type,
            id=run_id,
        )
        # Lightning does this for a run that it makes itself. No two patterns may fit one name:
        # which of them counts is then a matter of chance.
        run.define_metric(STEP)
        for section in ("epoch", "val/*", "test/*", "cost/*"):
            run.define_metric(section, step_metric=STEP, step_sync=True)
        for section in ("train/*", "slices/*", "baseline/*"):  # nothing that runs are compared by
            run.define_metric(section, step_metric=STEP, step_sync=True, summary="none")
    logger = SectionedWandb(project=project, save_dir=save_dir, experiment=run)
    logger.artifact = artifact
    return logger


def _begin_wandb(mode: Mode, timeout: float, **settings: Any) -> Any:
    """A run of W&B: made here and not by Lightning, which passes arguments that W&B warns about."""
    import wandb

    def begin(mode: Mode, resume: Literal["allow"] | None = None) -> Any:
        limits: dict[str, Any] = {}  # what is written to a disk is waited for
        if mode == "online":
            limits = dict.fromkeys(("init_timeout", "finish_timeout"), timeout)
            limits["finish_timeout_raises"] = True
        argv = sys.argv
        sys.argv = unaddressed(argv)  # which W&B logs
        try:
            return wandb.init(
                settings=wandb.Settings(silent=True, console="off", **limits),
                reinit="finish_previous",  # each job of a sweep is a run of its own
                mode=mode,
                resume=resume,
                **settings,
            )
        finally:
            sys.argv = argv

    if mode != "online":
        return begin(mode)  # an equal id is all that goes on
    try:
        return begin(mode, "allow" if settings["id"] is not None else None)
    except wandb.Error as error:
        reason = str(error).splitlines()[0]
        log.warning("W&B cannot be reached, so this run is kept offline. %s", reason)
        return begin("offline")


def tensorboard_logger(
    save_dir: Path, name: str = "tensorboard", version: str = "", step: int | None = None
) -> TensorBoardLogger:
    """Make a TensorBoard logger that writes to ``save_dir/name/version``.

    A resumed training goes on after optimizer step ``step``; later points are not shown.
    """
    return SectionedTensorBoard(
        save_dir, name=name, version=version, default_hp_metric=False, purge_step=step
    )


def mlflow_logger(
    save_dir: Path,
    project: str = "lightning_rec",
    name: str | None = None,
    group: str | None = None,
    tags: tuple[str, ...] = (),
    tracking_uri: str | None = None,
    run_id: str | None = None,
    artifact: Kept = "card",
) -> MLFlowLogger:
    """Make an MLflow logger; ``project`` is the experiment, ``group`` and ``tags`` are tags.

    ``name``: of the run; None takes that of the run folder, ``save_dir``. ``tracking_uri``: where
    MLflow keeps its runs; None takes ``MLFLOW_TRACKING_URI``, or ``mlflow.db`` in the present
    folder, where ``mlflow ui`` looks; files go to ``mlartifacts`` beside it. ``run_id``: under
    which a resumed run goes on; None begins a new one. ``artifact``: as of :func:`wandb_logger`.
    Raises UserError if MLflow is not installed.
    """
    import_extra("mlflow", "logger=mlflow", "mlflow")
    # A server that is away would be tried for minutes. What the user says counts.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    uri = mlflow_uri(tracking_uri)
    database, local = uri.removeprefix("sqlite:///"), uri.startswith("sqlite:///")
    files = (Path(database).absolute().parent / "mlartifacts").as_uri() if local else None
    logger = SectionedMLFlow(
        experiment_name=project,
        run_name=name or save_dir.name,
        tracking_uri=uri,
        tags={"group": group or "", "tags": ", ".join(tags), "run_dir": str(save_dir)},
        artifact_location=files,  # of a new experiment
        run_id=run_id,
    )
    logger.artifact = artifact
    return logger


def mlflow_uri(said: str | None) -> str:
    """Where MLflow keeps its runs: as ``said`` in the config, else in the environment.

    Raises UserError if its password is not known any more.
    """
    said = said or os.environ.get(VARIABLE) or "sqlite:///mlflow.db"
    return whole(said, "logger.mlflow.tracking_uri", VARIABLE)


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Each setting under its whole name, as MLflow takes it."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}/")
        else:
            yield f"{above}{key}", str(value)[:250]


def wandb_mode() -> Mode:
    """What ``WANDB_MODE`` says; else online where there is an API key."""
    chosen = os.environ.get("WANDB_MODE", "")
    if chosen in ("online", "offline", "disabled"):
        return chosen  # type: ignore[return-value]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return "online" if netrc(path).authenticators(host) is not None else "offline"
    except (OSError, NetrcParseError, UnicodeDecodeError):
        return "offline"
