"""From a completed run to a bundle: written whole or not at all, and tried before it is there."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from lightning_rec import __version__
from lightning_rec.adapters.base import AdaptedModule
from lightning_rec.build import problem_of
from lightning_rec.bundle import beginning, clicks, manifest, matching, sequences
from lightning_rec.bundle.opening import open_bundle
from lightning_rec.bundle.packed import Packed, write_weights
from lightning_rec.bundle.readme import readme
from lightning_rec.bundle.trying import check
from lightning_rec.config import plain
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, write_json, write_text
from lightning_rec.models.pipelines import Pipeline
from lightning_rec.models.text.lcrec import LCRec
from lightning_rec.models.text.listwise import Listwise
from lightning_rec.models.together import Together
from lightning_rec.monitoring import reference
from lightning_rec.predict.asking import Frame
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.problems.base import Problem
from lightning_rec.problems.history_encoders import objective_of
from lightning_rec.problems.match_pipelines import PipelinedMatching
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import unquoted
from lightning_rec.runs.parts import with_parts
from lightning_rec.runs.resuming import changed
from lightning_rec.trust import trusting

CARD = (
    "version", "commit", "dirty", "seed", "started", "finished", "data", "data_hash", "protocol",
    "protocol_hash", "catalogue_hash", "config_hash", "cost", "cpu_seconds", "gpu_seconds",
)  # fmt: skip


def export(
    folder: str | Path,
    to: str | Path,
    *overrides: str,
    users: bool = True,
    index: str | None = None,
    new_items: Frame | None = None,
    trust: Iterable[str] = (),
) -> Path:
    """Write the bundle of a completed run into a new folder, and return its path.

    Args:
        folder: of the run.
        to: where the bundle goes; it may not be there yet.
        overrides: of the run's config, as in :func:`~lightning_rec.load_run`.
        users: whether the users of its log come along, with their histories: without them, the
            bundle answers for histories alone.
        index: by what the bundle looks up items, ``exact``, ``faiss``, ``usearch`` or ``pq``; None
            is exact below a million of them. Of models of sequences with vectors of items.
        new_items: that training did not have; see :func:`~lightning_rec.load_run`.
        trust: see :func:`~lightning_rec.load_run`.

    Raises UserError if the run cannot be asked, cannot be taken along, or ``to`` is there already.
    """
    target = Path(to)
    if target.exists():
        raise UserError(f"to={target} is there already: name a new folder, or remove it.")
    run = RunFolder.open(Path(folder))
    with trusting(trust), unquoted(run, overrides, "model"):
        problem = problem_of(with_parts(run, changed(run.config, list(overrides))))
        run.check_completed("run")
        if index is not None and problem.predictor is not SequencePredictor:
            raise UserError(f"index={index} is for models of sequences; {run.path} is none.")
        predictor, packed = _packed(run, problem, users, index, new_items)
    training = beginning.keep(packed, run, problem)
    with atomic_folder(target) as temporary:
        if training is not None:
            write_json(temporary / beginning.TRAINING, training)
        _write(temporary, packed, run)
        with trusting(trust):
            check(predictor, open_bundle(temporary))
    return target


def _packed(
    run: RunFolder, problem: Problem[Any], users: bool, index: str | None, new: Frame | None
) -> tuple[Predictor, Packed]:
    kinds: dict[type[Predictor] | None, Callable[..., tuple[Predictor, Packed]]] = {
        SequencePredictor: partial(_sequences, index=index),
        ClickPredictor: _clicks,
        MatchPredictor: _matching,
    }
    if problem.predictor not in kinds:
        raise UserError(f"{run.path} is a run of task={problem.name}, which answers nothing.")
    return kinds[problem.predictor](run, problem, users, new)


def _sequences(
    run: RunFolder, problem: Any, users: bool, new: Frame | None, *, index: str | None
) -> tuple[Predictor, Packed]:
    predictor = SequencePredictor.of(run, problem, new)
    if isinstance(predictor.model, Listwise):
        raise UserError(
            f"{run.path} re-ranks by a language model, which no bundle takes along: export the run "
            "that model.first names."
        )
    if isinstance(predictor.model, LCRec):
        raise UserError(
            f"{run.path} asks a language model, which no bundle takes along: ask the run folder "
            "itself, load_run(FOLDER)."
        )
    settings = _settings(problem)
    if isinstance(predictor.model, Together):
        settings["members"] = [_settings(each) for each in problem.members]
    if isinstance(predictor.model, Pipeline) and predictor.model.ranker is not None:
        ranker = RunFolder.open(Path(problem.cfg.model.ranker))
        settings["ranker"] = plain(ranker.config.model)
    packed = sequences.pack(predictor, settings, users, index)
    timed = (run.path / f"{reference.HOURS}.parquet").is_file()
    hours = run.table(reference.HOURS) if timed else None
    packed.tables |= reference.tables_of(predictor, hours)
    return predictor, packed


def _settings(problem: Problem[Any]) -> dict[str, Any]:
    return {key: plain(problem.cfg[key]) for key in ("model", "objective")}


def _clicks(
    run: RunFolder, problem: Any, users: bool, new: Frame | None
) -> tuple[Predictor, Packed]:
    predictor = ClickPredictor.of(run, problem, new)
    for each in (problem, *getattr(problem, "members", ())):
        if each.items is None:  # else what is tuned ends in a table of vectors
            _merge(run, each.adapted)
    settings = _click_settings(problem) | {"fields": plain(problem.cfg.data.fields)}
    packed = clicks.pack(predictor, settings)
    if (run.path / f"{reference.MONITOR}.parquet").is_file():
        packed.tables[reference.MONITOR] = run.table(reference.MONITOR)
    return predictor, packed


def _click_settings(problem: Any) -> dict[str, Any]:
    kept = {"model": plain(problem.cfg.model), "dims": dict(problem.source.fields.dims)}
    if problem.encoder is not None:
        asked = objective_of(problem.encoder, problem.pretrained)
        kept["encoder"] = {"model": problem.encoder, "objective": asked}
    if hasattr(problem, "members"):
        kept["members"] = [_click_settings(each) for each in problem.members]
    return kept


def _merge(run: RunFolder, adapted: AdaptedModule | None) -> None:
    """Put an adapter into the weights. Raises UserError if it is of a kind that cannot be."""
    if adapted is None or not adapted.added:
        return
    try:
        adapted.merge()
    except UserError as error:
        raise UserError(
            f"{run.path} cannot be exported: {error} A bundle holds no adapters beside the weights "
            "that they tune: ask the run folder itself, load_run(FOLDER)."
        ) from error


def _matching(
    run: RunFolder, problem: Any, users: bool, new: Frame | None
) -> tuple[Predictor, Packed]:
    model, settings = _match_model(run, problem)
    predictor = MatchPredictor(model, MatchPredictor.catalogue_of(run, model, new))
    return predictor, matching.pack(predictor, settings)


def _match_model(run: RunFolder, problem: Any) -> tuple[Any, dict[str, Any]]:
    """The model of a run of matching, its adapter merged, and its settings."""
    settings: dict[str, Any] = {"model": plain(problem.cfg.model)}
    if isinstance(problem, PipelinedMatching):
        named = problem.members.problems.items()
        each = [_match_model(problem.members.runs[name], one) for name, one in named]
        settings["members"], reader = [own for _, own in each], None
        if problem.reader is not None:
            (judge,) = problem.reader
            reader, settings["reader"] = _match_model(problem.reader.runs["ranker"], judge)
        model = problem.joined([made for made, _ in each], reader)
        if model.ranker is not None and reader is None:
            settings["ranker"] = plain(RunFolder.open(Path(problem.cfg.model.ranker)).config.model)
        return model.eval(), settings
    run.check_language(problem.cfg)
    model = problem.make_model()
    adapted = problem.adapt(model)
    run.load_model(model)
    _merge(run, adapted)
    if hasattr(model, "first"):
        settings["first"] = {"model": problem.first_settings}
    return model.requires_grad_(False).eval(), settings


def _write(folder: Path, packed: Packed, run: RunFolder) -> None:
    write_weights(folder / manifest.WEIGHTS, packed.weights)
    for name, table in packed.tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    for name, write in packed.folders.items():
        write(folder / name)
    card = {key: run.card[key] for key in CARD if run.card.get(key) is not None}
    card |= {"exported_with": __version__, "metrics": run.metrics}
    write_json(folder / manifest.CARD, card)
    write_text(folder / "README.md", readme(packed, card))
    manifest.write(folder, packed.kind, packed.settings)
