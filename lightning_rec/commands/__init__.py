"""The verbs of the command line."""

VERBS = {
    "train": "train a model, evaluate it and write a run folder (-m for a sweep)",
    "evaluate": "the figures of a run again, or of a model that nothing has trained",
    "search": "the best items of a run of matching for a query",
    "data": "list and prepare data sets; check a log, or a table of clicks",
    "show": "the composed config and the parts it builds, without running",
    "completion": "tab completion for bash, zsh or fish",
}
