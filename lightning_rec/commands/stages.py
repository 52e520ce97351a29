"""The stages of a pipeline: each is made once, in a folder that its config and its data name."""

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig
from pytorch_lightning import Callback, seed_everything

from lightning_rec import config, training
from lightning_rec.build import problem_of
from lightning_rec.build.agreement import check_data
from lightning_rec.build.trainer import make_trainer
from lightning_rec.commands import check_folder
from lightning_rec.commands.train import frozen
from lightning_rec.data.core.module import DataModule
from lightning_rec.data.fetch import cache_dir
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, listed
from lightning_rec.files import atomic_folder, write_json
from lightning_rec.lab import pipeline_stages, pipelines
from lightning_rec.lab.ensembles import named
from lightning_rec.lab.pipelines import Asked
from lightning_rec.lab.reading import Source
from lightning_rec.problems.match_pipelines import PipelinedMatching
from lightning_rec.problems.pipelines import PipelinedSequences
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.logs import logging_to
from lightning_rec.streams import quiet

log = logging.getLogger(__name__)

STAGES = "runs/stages"
TABLE, FACTS = "candidates.parquet", "facts.json"


def make(
    sources: list[Source], asked: Asked, stages: str | Path | None, folder: str | Path | None
) -> tuple[RunFolder, dict[str, Any]]:
    """Make and evaluate a pipeline, a run in ``folder``; what its pipeline.json holds.

    What of ``stages`` is there already is taken as it is; what was begun is gone on with. Raises
    UserError where the runs cannot be joined, before anything is written.
    """
    members = named(*sources)
    quotas = pipelines.quotas_of(members, asked)
    pipelines.check_retrievers(members)
    path = Path(folder or f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_pipeline")
    kept, facts, ranker = Path(stages or STAGES), {}, None
    check_folder("to", path)
    check_folder("stages", kept)
    made_of = pipelines.contents(members, asked)
    _check_free(path, members, quotas, made_of)
    if isinstance(asked.ranker, Path):
        ranker = asked.ranker
        pipelines.check_reader(members, ranker)
        facts = _ranked_by(ranker)
    elif asked.ranker is not None:
        pipelines.check_trained_here(members)
        before = {name: _earlier(name, run, asked, kept) for name, run in members.items()}
        # Of the data the run of the pipeline tells; Lightning's own lines are left out everywhere.
        with quiet("lightning_rec.data"), logging_to(None):
            table = _candidates(members, before, quotas, asked, kept)
        facts = read_json(table.parent / FACTS)
        ranker = _ranker(table, facts["features"], asked, kept)
        facts |= {"stages": {name: str(run) for name, run in before.items()}}
        facts |= _ranked_by(ranker)
    cfg = pipelines.composed(members, quotas, ranker, path, asked.seed)
    said = [*(f"{name}={run}" for name, run in members.items()), *asked.said()]
    _trained(path, cfg, said)
    facts["made_of"] = made_of
    facts["figures"] = {name: RunFolder.open(run).metrics for name, run in members.items()}
    return RunFolder.open(path), pipeline_stages.concluded(path, facts)


def _ranked_by(ranker: Path) -> dict[str, Any]:
    return {"ranker": {"run": str(ranker), "figures": RunFolder.open(ranker).metrics}}


def _check_free(
    folder: Path,
    members: Mapping[str, Path],
    quotas: Mapping[str, int],
    made_of: Mapping[str, str],
) -> None:
    """Raise UserError, before anything is trained, where another run lies, or the pipeline of these
    members as they were before they were trained again.
    """
    if (folder / "run.json").is_file():
        model = RunFolder.open(folder).config.get("model") or {}
        here = {name: str(path.absolute()) for name, path in members.items()}
        if (model.get("members"), model.get("quotas")) != (here, dict(quotas)):
            raise UserError(f"to={folder} holds another run: name another folder, or remove it.")
    if (folder / pipeline_stages.NAME).is_file():
        before: dict[str, str] = read_json(folder / pipeline_stages.NAME).get("made_of", {})
        if changed := [name for name in before if before[name] != made_of.get(name)]:
            raise UserError(
                f"to={folder} was made of {listed(changed)} as trained before, which is another "
                "run now: name another folder, or remove it."
            )


def _trained(folder: Path, cfg: DictConfig, said: list[str], watch: Callback | None = None) -> None:
    """Train a run, or go on with it; one that is completed, of the same model, stays as it is."""
    if not (folder / "run.json").is_file():
        training.train(cfg, folder, said, watch)
        return
    run = RunFolder.open(folder)
    if run.config.model != cfg.model or run.config.protocol != cfg.protocol:
        raise UserError(f"{folder} holds another run: name another folder, or remove it.")
    if run.card.get("status") == "completed":
        checksums.verify_all(folder)
        log.info("%s is there already, and kept.", folder)
    else:
        training.resume(folder, [], watch)


def _earlier(name: str, path: Path, asked: Asked, stages: Path) -> Path:
    """The run of a retriever that knows nothing of the ranker's targets."""
    run = RunFolder.open(path)
    cfg = pipelines.earlier(run, asked)
    folder = (stages / f"{name}-{pipelines.key_of_run(cfg, run)}").absolute()
    cfg.run_dir, cfg.tracking.name = str(folder), None
    said = f"protocol.earlier={config.as_override(cfg.protocol.earlier)}"
    with quiet("lightning_rec.data"):
        _trained(folder, cfg, [*run.card.get("overrides", []), said], Callback())
    return folder


def _candidates(
    members: Mapping[str, Path],
    before: Mapping[str, Path],
    quotas: Mapping[str, int],
    asked: Asked,
    stages: Path,
) -> Path:
    """The table of what retrievers, ``before``, would have shown for the ranker's targets."""
    key = pipelines.key_of_candidates(before, quotas, asked)
    folder = (stages / f"candidates-{key}").absolute()
    if not (folder / FACTS).is_file():
        cfg = pipelines.composed(before, quotas, None, folder, asked.seed)
        of_all = pipelines.composed(members, quotas, None, folder, asked.seed)
        whole = problem_of(of_all).load(cache_dir())
        problem: Any = problem_of(cfg)
        assert isinstance(problem, PipelinedSequences | PipelinedMatching)
        loaded: Any = problem.load(cache_dir())
        for run in problem.members.runs.values():
            check_data(run, problem, loaded)
        audited = problem.audit_earlier(whole, loaded)
        data: Any = problem.make_data(loaded)
        seed_everything(asked.seed, workers=True, verbose=False)
        task = problem.collecting(loaded, data, asked.negatives or None, asked.seed)
        trainer = make_trainer(cfg, folder, training=False)
        trainer.test(task, datamodule=DataModule(data), verbose=False)
        steps: Any = task.steps
        found = problem.origins(task, loaded, "test")
        facts = {
            "features": task.model.features,
            "audit": audited,
            "before": pipeline_stages.recalls(found, [*quotas]),
        }
        _write(folder, steps.kept, facts)
    return folder / TABLE


def _write(folder: Path, kept: list[Any], facts: dict[str, Any]) -> None:
    parts = [
        pl.DataFrame(features.cpu().numpy(), schema=facts["features"]).select(
            pl.Series("query", example.cpu().numpy()),
            pl.Series("label", label.cpu().numpy()).cast(pl.Int8),
            pl.all(),
        )
        for example, label, features in kept
    ]
    table = pl.concat(parts)
    if not table["label"].sum():
        raise UserError(
            "No retriever finds a single target of the ranker: raise quotas, or train others."
        )
    with atomic_folder(folder) as temporary:
        table.write_parquet(temporary / TABLE)
        write_json(temporary / FACTS, facts | {"rows": len(table)})


def _ranker(table: Path, features: list[str], asked: Asked, stages: Path) -> Path:
    """The run of clicks over the candidates of a table."""
    overrides = pipelines.ranker_overrides(table, features, asked)
    cfg = frozen(config.compose(overrides))
    if "calibrate" in cfg.task:  # which changes no order
        cfg.task.calibrate = "none"
    if cfg.task._target_.rpartition(".")[2] != "Clicks" or cfg.data.fields.numeric != features:
        raise UserError(f"ranker={' '.join(overrides)}: it is a model of clicks with its settings.")
    folder = (stages / f"ranker-{pipelines.key_of_table(table, cfg)}").absolute()
    cfg.run_dir = str(folder)
    _trained(folder, cfg, overrides, Callback())
    return folder
