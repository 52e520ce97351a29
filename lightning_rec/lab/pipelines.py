"""Pipelines of finished runs: the configs of their stages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from lightning_rec import config
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_file, sha256_json
from lightning_rec.lab.ensembles import HOUSE, NONE, check_members
from lightning_rec.problems.match_updating import learnt_queries
from lightning_rec.problems.matching import Matching
from lightning_rec.problems.sequences import Sequences
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.parts import with_parts
from lightning_rec.runs.resuming import best_epoch

VERSION = 1  # of the features of candidates: raise it when they mean something else
QUOTA = 100
MODELS, PROBLEMS = f"{HOUSE}.models.", f"{HOUSE}.problems."
# The model of a pipeline -> its problem, and that of its retrievers.
KINDS: dict[str, tuple[str, type[Any]]] = {
    f"{MODELS}pipelines.Pipeline": (f"{PROBLEMS}pipelines.PipelinedSequences", Sequences),
    f"{MODELS}text.pipeline.TextPipeline": (
        f"{PROBLEMS}match_pipelines.PipelinedMatching",
        Matching,
    ),
}
# What changes no figure, so that a kept stage fits without it.
_BESIDE = ("run_dir", "name", "logger", "tracking", "examples", "callbacks", "baseline")


class Asked(NamedTuple):
    """What is asked for.

    quotas: how many items each retriever gives, one for all or one for each.
    ranker: overrides of the run of clicks that ranks; or of queries the folder of a run of a
        cross-encoder; None: nothing does, but the ranks of the retrievers.
    negatives: candidates of a query that the ranker learns from, beside the targets; 0 takes all.
    seed: of what is drawn.
    held: of matching, the share of the training queries that the ranker learns from.
    """

    quotas: Sequence[int] = (QUOTA,)
    ranker: Sequence[str] | Path | None = ("model=lightgbm",)
    negatives: int = 100
    seed: int = 1
    held: float = 0.2

    def said(self) -> list[str]:
        """As the command line says it."""
        own = self.ranker
        ranker = str(own or "none") if isinstance(own, Path | None) else " ".join(own)
        return [
            f"quotas={config.as_override([*self.quotas])}",
            f"ranker={config.as_override(ranker)}",
            f"negatives={self.negatives}",
            f"seed={self.seed}",
            f"held={self.held:g}",
        ]


def quotas_of(members: Mapping[str, Path], asked: Asked) -> dict[str, int]:
    """The quota of each retriever. Raises UserError where they are not one for each."""
    said = [*asked.quotas]
    if len(said) == 1:
        said *= len(members)
    if len(said) != len(members) or min(said) < 1:
        raise UserError(
            f"quotas={config.as_override([*asked.quotas])}: say how many items each of "
            f"{listed(members)} gives, 1 or more, or one number for all."
        )
    return dict(zip(members, said, strict=True))


def check_retrievers(members: Mapping[str, Path]) -> None:
    """Raise UserError where runs are of other data or protocols, not as they were written, or no
    runs of sequences or of matching, all alike.
    """
    check_members(members)
    kinds = [kind for _, kind in KINDS.values()]
    for name, path in members.items():
        found: Any = _problem(path)
        if found not in kinds:
            raise UserError(
                f"{name}={path} is a run of {found.__name__}; retrievers are runs of "
                "task=sequence, or of task=match."
            )
        model: Any = config.target("model", config.plain(RunFolder.open(path).config.model))
        if found is Matching and not model.ranks:
            raise UserError(
                f"{name}={path} is a run of {model.__name__}, which ranks no catalogue: retrievers "
                "are runs of BM25 or of a bi-encoder."
            )


def check_trained_here(members: Mapping[str, Path]) -> None:
    """Raise UserError where a retriever learnt from another run, which has seen what the ranker
    learns from: trained on less, it would know of it through that run.
    """
    for name, path in members.items():
        method = RunFolder.open(path).config.get("method") or {}
        for key in ("run", "teacher"):
            if method.get(key) is not None:
                raise UserError(
                    f"{name}={path} learnt from another run, method.{key}={method[key]}, which may "
                    "have learnt what the ranker is to be asked: name a run that is trained at "
                    "once, or say ranker=none."
                )


def check_reader(members: Mapping[str, Path], ranker: Path) -> None:
    """Raise UserError where ``ranker`` is no run of a cross-encoder of the data and the protocol of
    the retrievers, not as it was written, or does not say what it has learnt.
    """
    run = RunFolder.open(ranker)
    model: Any = config.target("model", config.plain(run.config.model))
    if {_problem(path) for path in (ranker, *members.values())} != {Matching} or model.ranks:
        raise UserError(
            f"ranker={ranker} is a run of {model.__name__}: a run that ranks is one of a "
            "cross-encoder, and its retrievers are runs of matching. Of models of clicks say "
            "settings, such as ranker='model=lightgbm model.leaves=15'."
        )
    check_members({**members, "the ranker": ranker})
    learnt_queries(run)


def _problem(path: Path) -> Any:
    return config.target("task", config.plain(RunFolder.open(path).config.task))


def earlier(run: RunFolder, asked: Asked) -> DictConfig:
    """The config of a retriever that is trained on what was before the ranker's targets, or, of
    matching, on other queries than the ranker's.

    Nothing validates there: as many epochs are trained as gave the best weights of ``run``.
    """
    cfg = with_parts(run, run.config)
    changed: dict[str, Any] = {
        "callbacks": {},
        "logger": {},
        "baseline": None,
        "protocol.earlier": asked.held if _problem(run.path) is Matching else True,
    }
    for key, value in changed.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    if "examples" in cfg:
        cfg.examples = 0
    if (epochs := best_epoch(run)) is not None:
        cfg.trainer.max_epochs = epochs
    return cfg


def composed(
    members: Mapping[str, Path],
    quotas: Mapping[str, int],
    ranker: Path | None,
    folder: Path,
    seed: int,
) -> DictConfig:
    """The config of the run of a pipeline: that of the first retriever, with all as its model."""
    cfg = RunFolder.open(next(iter(members.values()))).config
    kind = _problem(next(iter(members.values())))
    model = next(name for name, (_, each) in KINDS.items() if each is kind)
    changed = {
        **{key: None for key in NONE if key in cfg},
        "model": {
            "_target_": model,
            "members": {name: str(path.absolute()) for name, path in members.items()},
            "quotas": dict(quotas),
            "ranker": None if ranker is None else str(ranker.absolute()),
        },
        "callbacks": {},
        "logger": {},
        "seed": seed,
        "name": f"{cfg.data.name}_pipeline",
        "run_dir": str(folder),
    }
    for key, value in changed.items():
        OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    cfg.task._target_ = KINDS[model][0]
    cfg.tracking.name = None
    if kind is Matching:
        cfg.task.ranked = ["val", "test"]  # what was found is ranked anyway
        return cfg
    closed = {"_target_": f"{HOUSE}.objectives.closed_form.ClosedForm"}
    OmegaConf.update(cfg, "objective", closed, merge=False)
    lengths = [RunFolder.open(path).config.batches.max_len for path in members.values()]
    cfg.batches.max_len = max(lengths)
    return cfg


def key_of_run(cfg: DictConfig, run: RunFolder) -> str:
    """The name of a stage that is a run: of its config, and the data of ``run``."""
    settings = {key: value for key, value in config.plain(cfg).items() if key not in _BESIDE}
    hashes = [run.card.get(name) for name in ("data_hash", "catalogue_hash")]
    return sha256_json([settings, hashes])[:12]


def contents(members: Mapping[str, Path], asked: Asked) -> dict[str, str]:
    """What tells each run that a pipeline is made of from another in its folder: a hash of its
    settings and its weights.
    """
    runs = {**members, **({"ranker": asked.ranker} if isinstance(asked.ranker, Path) else {})}
    return {name: _content(path) for name, path in runs.items()}


def _content(path: Path) -> str:
    settings = config.plain(RunFolder.open(path).config)
    of = {key: value for key, value in settings.items() if key not in _BESIDE}
    return sha256_json([of, sha256_file(path / "weights.safetensors")])


def key_of_candidates(members: Mapping[str, Path], quotas: Mapping[str, int], asked: Asked) -> str:
    """The name of the candidates that retrievers give: of their settings and weights, what they
    were asked, and what is drawn. Weights alone do not say it: those of BM25, of a language model
    as it comes and of what is popular may be the same under several settings and protocols.
    """
    runs = [RunFolder.open(path) for path in members.values()]
    weights = {name: _content(path) for name, path in members.items()}
    hashes = ("data_hash", "catalogue_hash", "protocol_hash")
    data = [[run.card.get(name) for name in hashes] for run in runs]
    drawn = [asked.negatives, asked.seed]
    return sha256_json([VERSION, [*weights.items()], data, [*quotas.items()], drawn])[:12]


def key_of_table(table: Path, cfg: DictConfig) -> str:
    """The name of a ranker: of its config, and the candidates of a ``table``."""
    settings = {key: value for key, value in config.plain(cfg).items() if key not in _BESIDE}
    settings["data"] = settings["data"] | {"path": table.parent.name}
    return sha256_json(settings)[:12]


def ranker_overrides(table: Path, features: Sequence[str], asked: Asked) -> list[str]:
    """What composes the run of clicks that ranks candidates of a table."""
    assert isinstance(asked.ranker, Sequence)
    return [
        "data=click_table",
        f"data.path={config.as_override(str(table))}",
        "data.name=candidates",
        *asked.ranker,
        f"data.fields.numeric={config.as_override([*features])}",
        "data.fields.label=label",
        "data.fields.group=query",
        "protocol=random_rows",
        "protocol.whole_groups=true",
        "logger=[]",
        "callbacks=[checkpoint,early_stopping]",
        f"seed={asked.seed}",
    ]
