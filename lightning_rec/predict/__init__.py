"""A trained run as an object that answers: what a run folder holds is all that it needs."""

from pathlib import Path

from lightning_rec import threads
from lightning_rec.build import problem_of
from lightning_rec.errors import UserError
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.problems.clicks import Clicks
from lightning_rec.problems.matching import Matching
from lightning_rec.problems.sequences import Sequences
from lightning_rec.runs.folder import RunFolder

__all__ = ["ClickPredictor", "MatchPredictor", "Predictor", "SequencePredictor", "load_run"]

PREDICTORS: dict[type, type[Predictor]] = {
    Sequences: SequencePredictor,
    Clicks: ClickPredictor,
    Matching: MatchPredictor,
}


def load_run(folder: str | Path) -> Predictor:
    """Load a completed run, without its data: the folder, and its language model if it has one.

    Args:
        folder: of the run.

    Raises:
        UserError: if it is no completed run, is not as the run wrote it, or is of a problem that
            cannot be asked yet.
    """
    threads.watch()
    run = RunFolder.open(Path(folder))
    problem = problem_of(run.config)
    run.check_completed("run")
    if (predictor := PREDICTORS.get(type(problem))) is None:
        raise UserError(
            f"{run.path} is a run of task={problem.name}, which cannot be asked from Python."
        )
    return predictor.of(run, problem)
