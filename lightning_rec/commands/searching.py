"""One search of ``lightning-rec tune``: its trials, its best one, and what is written of it."""

import shutil
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from lightning_rec.commands.hydra_main import parsed, take_key
from lightning_rec.commands.sets import number, numbers
from lightning_rec.commands.tracked import Tracked, loggers, with_csv
from lightning_rec.commands.train import frozen
from lightning_rec.commands.usage import choices
from lightning_rec.config import as_override, compose, config_dir, plain
from lightning_rec.errors import UserError, listed
from lightning_rec.figures import better
from lightning_rec.files import write_text
from lightning_rec.lab.spaces import Space, grid, load_space
from lightning_rec.lab.statistics import amount
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

HOPELESS = 10  # trials: where all have failed, so will the next


class Search:
    """A search in a folder, under one set of overrides."""

    def __init__(
        self, overrides: list[str], folder: Path, config_dirs: list[Path], said: dict[str, str]
    ) -> None:
        from lightning_rec.runs.sweeps import settings_hash

        self.overrides, self.folder, self.config_dirs = overrides, folder, config_dirs
        cfg = compose(overrides, config_dirs)
        if gone := [each for each in overrides if each.startswith("~")]:
            raise UserError(
                f"{gone[0]}: what is found is written as an experiment file, which leaves nothing "
                f"out: say {gone[0][1:]}=null."
            )
        logger = ",".join(take_key(overrides, "logger")[0])
        self.quiet = [with_csv(logger), *(["examples=0"] if "examples" in cfg else [])]
        self.loggers = loggers([*overrides, self.quiet[0]], config_dirs) if logger else {}
        self.name = "/".join(folder.absolute().parts[-2:])  # at trackers
        named = {each.partition("=")[0] for each in overrides}
        every = load_space(said.get("space") or _model_of(overrides, cfg))
        self.space: Space = {key: each for key, each in every.items() if key not in named}
        if not self.space:
            raise UserError(f"Nothing is left to draw: {listed(every)} are named already.")
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
        self.seeds = numbers("seeds", said.get("seeds", "1,2,3"))
        self.sampler: Any = said.get("sampler", "tpe")
        self.pruner: Any = said.get("pruner", "none")
        if self.sampler == "grid":
            grid(self.space)
        if self.pruner != "none" and len(self.objectives) > 1:
            raise UserError("pruner= looks at one figure: leave it or objectives= out.")
        self.seed = int(cfg.seed)
        self.best: Any = None
        self.is_left = False  # to another worker

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
        while not self._hopeless(study):
            # Once the minutes are spent, what a killed worker began is still brought to its end.
            most = self.trials if self._minutes(study) < self.minutes else 0
            with next_trial(study, self.folder, self.space, most) as trial:
                if trial is None:
                    break
                self._trial(study, trial)
        every = study.get_trials(deepcopy=False)
        counts = [
            sum(each.state == state for each in every)
            for state in (TrialState.PRUNED, TrialState.FAIL)
        ]
        done = [each for each in every if each.state == TrialState.COMPLETE]
        row = [self.folder.name, str(len(every)), *map(str, counts), amount(self._minutes(study))]
        if held := [str(each.number) for each in every if each.state == TrialState.RUNNING]:
            self.is_left = True
            told = f"another worker has trial {', '.join(held)}: the last to end trains the best"
            return [*row, "-", told]
        if self.loggers:
            self._tell(study)
        if not done:
            error = next((e.user_attrs["error"] for e in every if "error" in e.user_attrs), "")
            return [*row, "-", f"every trial failed: {error}" if every else ""]
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

        from lightning_rec.commands.repeating import train_or_resume
        from lightning_rec.documents import read_json
        from lightning_rec.lab.study import Watch

        folder = self.folder / "trials" / str(trial.number)
        settings = [f"{key}={as_override(trial.params[key])}" for key in self.space]
        overrides = [*self.overrides, *settings, *self.quiet]
        watch = Watch(trial, self.monitor if self.pruner != "none" else None)
        print(f"trial {trial.number}: {' '.join(settings)}", flush=True)
        try:
            if not trial.user_attrs.get("pruned"):
                tags = [f"search:{self.name}", f"trial:{trial.number}"]
                tracked = Tracked(self.name, f"trial {trial.number}", tags)
                train_or_resume(overrides, folder, self.config_dirs, watch, tracked)
            card = self._card(trial, folder)
            if trial.user_attrs.get("pruned"):
                study.tell(trial, state=TrialState.PRUNED)
                shutil.rmtree(folder)
                return
            found = read_json(folder / "metrics.json") | _flat(card)
            values = [float(found[name]) for name in self.objectives]
        except OSError:  # of this machine, not of these settings: a full disk
            raise
        except Exception as error:
            self._card(trial, folder)
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            print(f"trial {trial.number} failed: {error}", flush=True)
            study.tell(trial, state=TrialState.FAIL)
            return
        self._check_data(study, trial, card)
        study.tell(trial, values)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def _card(self, trial: Any, folder: Path) -> dict[str, Any]:
        """The card of a trial's run, whose processor time is told, however it ended."""
        from lightning_rec.documents import read_json

        path = folder / "run.json"
        card: dict[str, Any] = read_json(path) if path.is_file() else {}
        trial.set_user_attr("cpu_seconds", card.get("cpu_seconds", 0.0))
        return card

    def _tell(self, study: Any) -> None:
        """Tell the trackers of all trials."""
        from lightning_rec.reports.dashboard import tell_search

        tell_search(study, self.folder, self.name, self.objectives, self.loggers)

    def _check_data(self, study: Any, trial: Any, card: dict[str, Any]) -> None:
        """Raise UserError if a trial was measured on other data than those before it."""
        from optuna.trial import TrialState

        data = card.get("data_hash")
        if study.user_attrs.get("data_hash") is None:
            study.set_user_attr("data_hash", data)
        if study.user_attrs["data_hash"] != data:
            study.tell(trial, state=TrialState.FAIL)
            raise UserError(
                f"The data is not that of the trials before in {self.folder}: bring it back, or "
                "search anew in another folder, to=FOLDER."
            )

    def _hopeless(self, study: Any) -> bool:
        """Whether the first trials have all failed."""
        every = study.get_trials(deepcopy=False)
        failed = sum(each.state.name == "FAIL" for each in every)
        return failed == len(every) >= HOPELESS

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
                group = str(each.input_line).partition("=")[0].lstrip("+")  # model@encoder.model
                defaults.append({f"override /{group}": value})
            else:
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
        others = [each for each in self.overrides if not each.startswith(("seed=", "logger="))]
        others.append(self.quiet[0])
        seeds = f"seed={','.join(map(str, self.seeds))}"
        folder = f"run_dir={as_override(str(self.folder / 'best'))}"
        if not any(each.startswith("tracking.group=") for each in others):
            settings = [*settings, f"tracking.group={as_override(f'{self.name}/best')}"]
        train.run(["-m", *flags, *others, *settings, seeds, folder])


def _model_of(overrides: list[str], cfg: Any) -> str:
    """The name of the model, for its space: as it is said, else that of its file."""
    if said := take_key(overrides, "model")[0]:
        return said[-1]
    target = f"_target_: {cfg.model._target_}\n"
    files = sorted((config_dir() / "model").glob("*.yaml"))
    found = [path.stem for path in files if target in path.read_text(encoding="utf-8")]
    return found[0] if found else str(cfg.model._target_).rpartition(".")[2]


def _flat(card: dict[str, Any]) -> dict[str, Any]:
    """Costs of a run's card by dotted names."""
    nested = {
        f"{key}.{name}": each
        for key in ("cost", "seconds")
        for name, each in card.get(key, {}).items()
    }
    return nested | {key: card[key] for key in ("cpu_seconds", "peak_memory_mib") if card.get(key)}
