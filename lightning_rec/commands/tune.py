"""``lightning-rec tune``: a search for good settings, and the best of them trained over seeds."""

import shutil
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from lightning_rec.commands.hydra_main import parsed, take_key, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.commands.train import frozen
from lightning_rec.commands.usage import choices, config_folders
from lightning_rec.config import as_override, compose, plain
from lightning_rec.errors import UserError, import_extra, listed, nearest
from lightning_rec.figures import better
from lightning_rec.files import write_text
from lightning_rec.lab.spaces import Space, grid, load_space
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HELP = """\
Search for good settings: trials are drawn, trained and judged by the monitored
figure of validation; the best one is written as an experiment file, trained
over seeds, and only then tested.

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
    if "trials" not in said and "minutes" not in said:
        raise UserError("Say how long: trials=30, or minutes=60 of processor time.")
    for key, known in (
        ("sampler", ("tpe", "random", "grid")),
        ("pruner", ("none", "median", "asha")),
    ):
        if said.get(key, known[0]) not in known:
            hint = nearest(said[key], known)
            raise UserError(f"{key}={said[key]}: it is one of {listed(known)}.{hint}")
    with loading():
        from lightning_rec.commands.train import sweep_folder
    root = Path(said.get("to", sweep_folder().replace("_sweep", "_tune")))
    models, others = _models(arguments)
    jobs = [
        _Search([*others, *([f"model={model}"] if model else [])], root / model, folders, said)
        for model in models
    ]
    rows = [job.run() for job in jobs]  # all were checked before the first begins
    shown = FittedTable(
        "Equal budgets; the test was looked at once, by the best of validation",
        [
            *text("search"),
            *figures("trials", "pruned", "failed", "CPU minutes", "best"),
            *text("settings"),
        ],
    )
    for row in rows:
        shown.add_row(*row)
    Screen().print(shown)
    return int(any(job.best is None for job in jobs))


def _models(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The models of ``model=A,B``, each to be searched for; and the other overrides."""
    for each in parsed(arguments):
        if each.is_sweep_override() and each.key_or_group != "model":
            raise UserError(f"{each.input_line}: tune draws values from its space; name one here.")
    values, others = take_key(arguments, "model")
    if len(values) > 1:
        raise UserError(f"model= is said {len(values)} times: say it once.")
    return (values[0].split(",") if values else [""]), others


class _Search:
    """A search in a folder, under one set of overrides."""

    def __init__(
        self, overrides: list[str], folder: Path, config_dirs: list[Path], said: dict[str, str]
    ) -> None:
        from lightning_rec.runs.sweeps import settings_hash

        self.overrides, self.folder, self.config_dirs = overrides, folder, config_dirs
        cfg = compose(overrides, config_dirs)
        self.space: Space = load_space(said.get("space") or _model_of(overrides, cfg))
        drawn = [
            f"{key}={as_override(next(iter(each.choices), each.low))}"
            for key, each in self.space.items()
        ]
        compose([*overrides, *drawn], config_dirs)  # every setting is one of this config
        self.monitor = str(cfg.monitor)
        self.objectives = [self.monitor]
        if "objectives" in said:
            asked = parsed([f"objectives={said['objectives']}"])[0].value()
            self.objectives = [
                str(each) for each in (asked if isinstance(asked, list) else [asked])
            ]
        if told := [each for each in self.objectives if each.startswith("test/")]:
            raise UserError(
                f"{told[0]}: a search never sees the test; say the figure of validation."
            )
        self.directions: list[Any] = [self._direction(each, cfg) for each in self.objectives]
        self.settings = settings_hash(plain(frozen(cfg)))
        self.trials = number("trials", said["trials"], int) if "trials" in said else 10**6
        self.minutes = (
            number("minutes", said["minutes"], float) if "minutes" in said else float("inf")
        )
        seeds = parsed([f"seeds=[{said.get('seeds', '1,2,3').strip('[]')}]"])[0].value()
        self.seeds = [int(str(each)) for each in seeds] if isinstance(seeds, list) else []
        self.sampler: Any = said.get("sampler", "tpe")
        self.pruner: Any = said.get("pruner", "none")
        if self.sampler == "grid":
            grid(self.space)
        if self.pruner != "none" and len(self.objectives) > 1:
            raise UserError("pruner= looks at one figure: leave it or objectives= out.")
        self.seed = int(cfg.seed)
        self.best: Any = None

    def _direction(self, name: str, cfg: DictConfig) -> str:
        """``maximize`` or ``minimize``; costs have no slash, and less of them is better."""
        if name == self.monitor:
            good: str | None = cfg.monitor_mode
        else:
            good = better(name, plain(cfg.metrics)) if "/" in name else "min"
        if good is None:
            raise UserError(f"objectives={name}: no metric of this name says which way is better.")
        return "maximize" if good == "max" else "minimize"

    def run(self) -> list[str]:
        """All trials, then the best over seeds; the line of the table."""
        from optuna.trial import TrialState

        from lightning_rec.lab.study import next_trial, open_study

        study = open_study(
            self.folder,
            self.space,
            self.directions,
            self.sampler,
            self.pruner,
            self.seed,
            objectives=self.objectives,
            config=self.settings,
        )
        study.set_user_attr("objectives", self.objectives)
        while self._minutes(study) < self.minutes:
            with next_trial(study, self.folder, self.space, self.trials) as trial:
                if trial is None:
                    break
                self._trial(study, trial)
        every = study.get_trials(deepcopy=False)
        counts = [
            sum(each.state == state for each in every)
            for state in (TrialState.PRUNED, TrialState.FAIL)
        ]
        done = [each for each in every if each.state == TrialState.COMPLETE]
        row = [self.folder.name, str(len(every)), *map(str, counts), f"{self._minutes(study):.1f}"]
        if not done:
            return [*row, "-", "every trial failed: see its train.log" if every else ""]
        if len(self.objectives) > 1:
            self._show_front(study)
        self.best = study.best_trials[0]
        settings = [f"{key}={as_override(self.best.params[key])}" for key in self.space]
        self._write(settings)
        if self.seeds:
            self._train_best(settings)
        values = ", ".join(f"{value:.4f}" for value in self.best.values)
        return [*row, values, " ".join(settings)]

    def _trial(self, study: Any, trial: Any) -> None:
        """Train a trial, or go on with it, and tell the study what came out."""
        from optuna.trial import TrialState

        from lightning_rec.commands.reproduce import train_or_resume
        from lightning_rec.documents import read_json
        from lightning_rec.lab.study import Watch

        folder = self.folder / "trials" / str(trial.number)
        settings = [f"{key}={as_override(trial.params[key])}" for key in self.space]
        overrides = [*self.overrides, *settings, "logger=csv", "examples=0"]
        watch = Watch(trial, self.monitor if self.pruner != "none" else None)
        print(f"trial {trial.number}: {' '.join(settings)}", flush=True)
        try:
            if not trial.user_attrs.get("pruned"):
                train_or_resume(overrides, folder, self.config_dirs, watch)
            found = read_json(folder / "metrics.json") | _flat(read_json(folder / "run.json"))
            values = [float(found[name]) for name in self.objectives]
        except (UserError, KeyError, RuntimeError) as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            print(f"trial {trial.number} failed: {error}", flush=True)
            study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_user_attr("cpu_seconds", found.get("cpu_seconds", 0.0))
        if trial.user_attrs.get("pruned"):
            study.tell(trial, state=TrialState.PRUNED)
            shutil.rmtree(folder)
            return
        study.tell(trial, values)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def _minutes(self, study: Any) -> float:
        """Processor minutes of the trials that have ended."""
        every = study.get_trials(deepcopy=False)
        return float(sum(each.user_attrs.get("cpu_seconds", 0.0) for each in every)) / 60

    def _show_front(self, study: Any) -> None:
        """The trials that no other one beats in all objectives."""
        shown = FittedTable(
            "Not beaten in all objectives", [*figures("trial", *self.objectives), *text("settings")]
        )
        for each in sorted(study.best_trials, key=lambda each: each.values[0]):
            settings = " ".join(f"{key}={as_override(each.params[key])}" for key in self.space)
            shown.add_row(str(each.number), *(f"{value:.4f}" for value in each.values), settings)
        Screen().print(shown)

    def _write(self, settings: list[str]) -> None:
        """The best settings as an experiment file, ``--config-dir FOLDER/conf experiment=best``."""
        groups = choices(self.config_dirs)
        defaults: list[Any] = []
        tree: dict[str, Any] = {}
        for each in parsed([*self.overrides, *settings]):
            if each.key_or_group == "experiment":
                defaults.append(str(each.value()))
            elif each.key_or_group in groups:
                value = each.value() if isinstance(each.value(), list) else str(each.value())
                defaults.append({f"override /{each.key_or_group}": value})
            elif not each.is_delete():
                node = tree
                *path, last = each.key_or_group.split(".")
                for part in path:
                    node = node.setdefault(part, {})
                node[last] = each.value()
        content = {"defaults": [*defaults, "_self_"], **tree}
        head = f"# @package _global_\n# Trial {self.best.number} of a search: {self.monitor}.\n"
        target = self.folder / "conf" / "experiment" / "best.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def _train_best(self, settings: list[str]) -> None:
        """Train the best settings over seeds, as a sweep, and show its table with the test."""
        from lightning_rec.commands import train

        flags = [f"--config-dir={each}" for each in self.config_dirs]
        others = [each for each in self.overrides if not each.startswith("seed=")]
        seeds = f"seed={','.join(map(str, self.seeds))}"
        train.run(["-m", *flags, *others, *settings, seeds, f"run_dir={self.folder / 'best'}"])


def _model_of(overrides: list[str], cfg: Any) -> str:
    """The name of the model, for its space: as it is said, else that of its file."""
    said = [each.partition("=")[2] for each in overrides if each.startswith("model=")]
    if said:
        return said[-1]
    target = str(cfg.model._target_)
    from lightning_rec.config import config_dir

    for path in sorted((config_dir() / "model").glob("*.yaml")):
        if f"_target_: {target}\n" in path.read_text(encoding="utf-8"):
            return path.stem
    return target.rpartition(".")[2]


def _flat(card: dict[str, Any]) -> dict[str, Any]:
    """Costs of a run's card by dotted names."""
    nested = {
        f"{key}.{name}": each
        for key in ("cost", "seconds")
        for name, each in card.get(key, {}).items()
    }
    return nested | {key: card[key] for key in ("cpu_seconds", "peak_memory_mib") if card.get(key)}
