"""The verbs of the command line."""

from collections.abc import Iterable
from pathlib import Path

from lightning_rec.errors import UserError

VERBS = {
    "train": "train a model, evaluate it and write a run folder (-m for a sweep)",
    "evaluate": "the figures of a run again, or of a model that nothing has trained",
    "verify": "whether runs, and records of papers, are what they say",
    "sweep": "the table of a sweep, while it runs or after",
    "compare": "runs and sweeps side by side, with paired tests",
    "report": "a page of runs, sweeps and searches to look at; plots for a paper",
    "ensemble": "finished runs that answer together, as a run of their own",
    "pipeline": "finished runs retrieve, a model of clicks ranks, as a run of its own",
    "tune": "search for good settings, and train the best over seeds",
    "reproduce": "a published table: train what is missing, compare, write it",
    "workspace": "a view of a W&B project for sweeps: tables, plots, curves by setting",
    "search": "the best items of a run of matching for a query",
    "answer": "the stored answer to a question, or that nothing fits",
    "recommend": "the best items for users, histories, or a file of them",
    "similar": "items like an item, by model or text, or bought with it",
    "explain": "paths in a knowledge graph from what a user had to what is for him",
    "popular": "the most popular items: decayed, by category, trending",
    "profile": "what a user is like: shares, drift, novelty, activity",
    "predict": "the probability, or score, of each row of a file",
    "elasticity": "what a model of clicks would answer at other prices",
    "vectors": "the vectors of items or users, as a file",
    "ids": "semantic ids of items: codes that alike items share, as a table",
    "shrink": "a run as ONNX that needs no PyTorch, or in a quarter of the bytes",
    "serve": "a trained model behind HTTP, with sessions, limits and reload",
    "events": "events as they come: from a file, Redis or Kafka, to Parquet or a server",
    "gate": "whether a newer run may take the place of an older one",
    "backtest": "train on a rolling origin: how models age, which refresh pays",
    "forecast": "how much of each item will be asked for; when to order it",
    "monitor": "how a server's log differs from what its model was trained on",
    "abtest": "what variants did to users; users a test needs; who gets which",
    "offpolicy": "what another policy would have earned, from a log with chance",
    "simulate": "made-up users with known tastes, who try a server",
    "export": "a trained model as one folder of data that opens anywhere",
    "data": "list and prepare data sets; check a log, or a table of clicks",
    "show": "the composed config and the parts it builds, without running",
    "completion": "tab completion for bash, zsh or fish",
}
CONFIG_DIR = ("--config-dir", "-cd")


def take_flag(arguments: Iterable[str], *flags: str) -> tuple[list[str], list[str]]:
    """Take ``--flag VALUE`` and ``--flag=VALUE`` out: the values, and the other arguments."""
    values, others = [], []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag in flags:
            values.append(value if equals else next(rest, ""))
        else:
            others.append(argument)
    return values, others


def check_folder(key: str, path: Path) -> None:
    """Raise UserError, which names the ``key``, where a folder is to be and a file is."""
    if path.exists() and not path.is_dir():
        raise UserError(f"{key}={path} is a file: name a folder.")
