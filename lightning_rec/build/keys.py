"""Schema of the top of a config: keys, types and ranges that hold for every problem."""

import logging
import os
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.types import FiniteFloat, NonNegativeInt, PositiveInt

from lightning_rec import config
from lightning_rec.build.callbacks import below, check_callbacks
from lightning_rec.building import misread
from lightning_rec.errors import UserError, listed, suggest

# What is no key of the trainer here, and what to say instead.
REFUSED = {
    "callbacks": "say callbacks=",
    "logger": "say logger=csv or another one",
    "plugins": "the run folder brings its own, for checkpoints",
    "enable_checkpointing": "callbacks=[checkpoint] says it, and callbacks without it",
    "enable_progress_bar": "callbacks=[progress] says it, and callbacks without it",
    "default_root_dir": "say run_dir=",
    "barebones": "it would measure, keep and record nothing",
    "limit_predict_batches": "nothing is predicted by the trainer; load_run(FOLDER) does it",
    "model_registry": "the run folder keeps the model",
}
LAUNCHED = ("MASTER_ADDR", "SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "LSB_JOBID", "KUBERNETES_PORT")


def _node(value: dict[str, Any]) -> dict[str, Any]:
    """Validate a node: it names its class (``_target_``), or is empty."""
    if value and not isinstance(value.get("_target_"), str):
        others = listed(key for key in value if key != "_target_") or "nothing"
        raise ValueError(
            f"it names no class to build (_target_), which {others} could be meant for: what an "
            "experiment says of another choice is taken out by '~GROUP.KEY'"
        )
    return value


def _filled(value: dict[str, Any]) -> dict[str, Any]:
    if not value:
        raise ValueError("it names no class to build (_target_)")
    return value


def _devices(value: Any) -> Any:
    many = int(value) if str(value).isdigit() else 1
    if isinstance(value, bool) or value in ("", None, []) or not 0 < many <= 1024:
        raise ValueError("it must be a number of devices, 1 or more, their list, or 'auto'")
    return value


def _epochs(value: int) -> int:
    if value < 0:
        raise ValueError(
            "it is greater than or equal to 0; for a number of steps say max_steps, and as many"
            " epochs as that takes"
        )
    return value


def _strategy(value: Any) -> Any:
    if any(kind in str(value) for kind in ("spawn", "fork", "notebook")):
        raise ValueError("its processes do not hand back what they have trained; say ddp")
    return value


def _some(value: float) -> float:
    if value == 0:
        raise ValueError("it leaves nothing; say 1 or more batches, or a share of them")
    return value


Empty = Annotated[dict[str, Any], AfterValidator(_node)]  # a part that may be absent
Part = Annotated[Empty, AfterValidator(_filled)]
Name = Annotated[str, Field(min_length=1), AfterValidator(below)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
SomeShare = Annotated[FiniteFloat, Field(gt=0, le=1)]
Limit = NonNegativeInt | Share  # a number of batches, or a share of them
Some = Annotated[Limit, AfterValidator(_some)]


class _Strict(BaseModel):
    """Settings without conversion: ``true`` is no number, ``"3"`` neither."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Trainer(_Strict):
    """Ranges that Lightning's trainer does not check itself, or checks too late."""

    model_config = ConfigDict(extra="allow")  # further ones are the constructor's to refuse

    devices: Annotated[Any, AfterValidator(_devices)] = 1
    num_nodes: PositiveInt = 1
    max_epochs: Annotated[int, AfterValidator(_epochs)]
    max_steps: Annotated[int, Field(ge=-1)] = -1
    min_steps: NonNegativeInt | None = None
    min_epochs: NonNegativeInt | None = None
    max_time: str | dict[str, int] | None = None
    accumulate_grad_batches: PositiveInt = 1
    gradient_clip_val: Annotated[FiniteFloat, Field(ge=0)] | None = None
    check_val_every_n_epoch: PositiveInt = 1
    log_every_n_steps: PositiveInt = 50
    val_check_interval: PositiveInt | SomeShare | str | dict[str, int] | None = 1.0
    limit_train_batches: Limit = 1.0
    limit_val_batches: Limit = 1.0
    limit_test_batches: Some = 1.0
    overfit_batches: Limit = 0.0
    strategy: Annotated[Any, AfterValidator(_strategy)] = "auto"
    num_sanity_val_steps: Literal[0] = 0  # its figures would move schedules
    use_distributed_sampler: Literal[False] = False  # ours deals whole batches, repeats no row


class Tracking(_Strict):
    """What trackers are told a run belongs to."""

    project: str
    group: str | None
    tags: list[str]
    name: str | None = None
    setting: str | None = None


class EncoderKeys(_Strict):
    """A model of sequences that encodes histories for one of clicks."""

    run: str | None = None
    model: Empty | None = None


class Keys(_Strict):
    """All keys at the top of a config. Those with a default may be missing."""

    data: Part
    protocol: Part
    batches: Part
    optimizer: Part
    schedule: Part
    trainer: Trainer
    task: Part
    model: Part
    objective: Empty | None = None
    loss: Empty | None = None
    item: Empty | None = None
    adapter: Empty | None = None
    method: Empty | None = None
    metrics: dict[str, Empty | None] | None = None
    negatives: Empty | None = None
    augment: Empty | None = None
    encoder: EncoderKeys | None = None
    baseline: Empty | None
    callbacks: dict[str, Empty | None] | None = None
    logger: dict[str, Empty | None] | None = None
    tracking: Tracking
    seed: Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes
    name: Name
    run_dir: Annotated[str, Field(min_length=1)]
    monitor: str
    monitor_mode: Literal["min", "max"]
    patience: NonNegativeInt
    examples: NonNegativeInt | None = None


def check_keys(cfg: DictConfig) -> None:
    """Check a config as a whole. Raises UserError naming the key and what it should be."""
    settings = config.plain(cfg)
    try:
        Keys.model_validate(settings)
    except ValidationError as error:
        raise _sentence(error, settings) from None
    name = settings["data"].get("name")
    try:
        below(name if isinstance(name, str) else "")
    except ValueError as error:
        raise UserError(f"data.name={name!r}: {error}.") from None
    config.expect("trainer", settings["trainer"], pl.Trainer)
    check_trainer(settings["trainer"])
    check_callbacks(settings)


def check_trainer(settings: dict[str, Any]) -> None:
    """Make a trainer as a trial: Lightning knows what it cannot do. Raises UserError."""
    for key, instead in REFUSED.items():
        if settings.get(key) is not None:
            raise UserError(f"trainer.{key} is not to be set: {instead}.")
    _check_processes(settings)
    # Whether torch is deterministic from here on is not for a trial to say.
    live = {"callbacks": [], "logger": False, "enable_checkpointing": False, "deterministic": None}
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what Lightning tells, the real trainer repeats
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config.build("trainer", settings, **live)
    finally:
        logging.disable(disabled)


def _check_processes(settings: dict[str, Any]) -> None:
    devices, cores = settings.get("devices", 1), os.cpu_count() or 1
    number = int(devices) if str(devices).isdigit() else 1
    accelerator = settings.get("accelerator")
    others = torch.cuda.is_available() or torch.backends.mps.is_available()
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not others)
    if on_cpu and number > cores:
        raise UserError(
            f"trainer.devices={devices}: on a CPU each device is a process, and there are {cores} "
            "cores here."
        )
    nodes = settings.get("num_nodes", 1)
    if nodes > 1 and not any(name in os.environ for name in LAUNCHED):
        raise UserError(
            f"trainer.num_nodes={nodes}: nothing says where the other machines are, and this one "
            "would wait for them. Start it by SLURM or torchrun, or set MASTER_ADDR, MASTER_PORT "
            "and NODE_RANK on each of them."
        )


def _sentence(error: ValidationError, settings: dict[str, Any]) -> UserError:
    """The first error of validation as a sentence: the key, what is wrong, what it should be."""
    first = error.errors()[0]
    path, value = [], settings
    for step in first["loc"]:
        if not isinstance(value, Mapping) or step not in value:
            break
        path.append(str(step))
        value = value[step]
    key = ".".join(path)
    if first["type"] == "missing":
        missing = ".".join((*path, str(first["loc"][len(path)])))
        return UserError(f"{missing} is missing, and must be said: {missing}=….")
    if first["type"] == "extra_forbidden":
        kinds: dict[str, type[_Strict]] = {"tracking": Tracking, "encoder": EncoderKeys}
        fields = kinds.get(path[0], Keys).model_fields
        where = f"{path[0]} has" if len(path) > 1 else "At the top there are"
        return UserError(f"Unknown key {key}.{suggest(path[-1], fields, where, 30)}")
    if first["type"] == "string_type" and (told := misread(key, value)):
        return told
    same = [e["msg"] for e in error.errors() if e["loc"][: len(path)] == first["loc"][: len(path)]]
    reasons = dict.fromkeys(message.removeprefix("Value error, ") for message in same)
    shown = "" if isinstance(value, Mapping) else f"={'null' if value is None else value}"
    return UserError(f"{key}{shown}: {', or '.join(reasons)}.")
