"""What a run is called beside others: the settings that it does not share with all of them."""

from typing import Any

from lightning_rec.runs.sweeps import key_of


def name_settings(jobs: list[dict[str, Any]]) -> None:
    """Give each job its ``setting``: overrides that not all jobs have, but for the seed.

    It is the model's name where they differ in nothing else. All jobs are looked at, not a part of
    them that is comparable, so that a setting means the same wherever it stands.

    Args:
        jobs: each with its ``overrides``, those that have an effect (``with_effect``), and the name
            of its ``model``.
    """
    known = [set(job["overrides"]) for job in jobs if job["overrides"]]  # a broken folder has none
    common = set.intersection(*known) if known else set()
    for job in jobs:
        effective = job.get("with_effect", job["overrides"])
        differing = {each for each in effective if each not in common and key_of(each) != "seed"}
        job["setting"] = " ".join(sorted(differing)) or job.get("model", "as composed")
