"""Configs changed at random, by a fixed seed: each is taken or refused in a sentence, nothing else."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from lightning_rec import assembly, config
from lightning_rec.errors import UserError

CHANGES = 300
BASES = (
    [],
    ["model=sasrec", "logger=[csv,tensorboard]", "trainer=ddp"],
    ["model=popularity", "protocol=temporal"],
    ["model=caser", "optimizer=lazy_adamw", "protocol=petrov_macdonald_sampled"],
    ["model=deepfm"],
    ["model=din", "schedule=warmup_decay"],
    ["model=deepfm", "model@encoder.model=gru4rec"],
    ["model=bm25"],
)
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 10**12, -(2**63), 0.5, 1.5, -1e300, float("nan"), float("inf"),
    "", "abc", "0", "null", "../../x", "/", "a b", "\x1b[31m", "[bold]", "${nowhere}", "x" * 300,
    [], [0], [1, "a", None], [[]], {}, {"a": 1}, {"_target_": "abc"}, {"_target_": "torch.nn.Linear"},
    {"_target_": None}, {"_target_": 5},
)  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each key and of each place of a list."""
    below: Any = ()
    if isinstance(tree, dict):
        below = tree.items()
    elif isinstance(tree, list):
        below = enumerate(tree)
    for key, value in below:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(tree: dict[str, Any], chance: random.Random) -> str:
    """Change one place of a config; says which, and to what."""
    paths = list(places(tree))
    path = chance.choice(paths)
    holder: Any = tree
    for step in path[:-1]:
        holder = holder[step]
    kind = chance.choice(("set", "set", "set", "drop", "add", "swap"))
    if kind == "drop":
        del holder[path[-1]]
        return f"~{path}"
    value = copy.deepcopy(chance.choice(STRANGE))
    if kind == "swap":  # what stands elsewhere, so that it has a meaning, but not here
        value = tree
        for step in chance.choice(paths):
            value = value[step]
        value = copy.deepcopy(value)
    if kind == "add" and isinstance(holder[path[-1]], dict):
        holder, path = holder[path[-1]], (*path, "unknown")
    holder[path[-1]] = value
    return f"{path}={value!r}"


def test_a_config_changed_at_random_is_taken_or_refused_in_a_sentence() -> None:
    chance, told = random.Random(20261127), {True: 0, False: 0}
    bases = [OmegaConf.to_container(config.compose(base), resolve=False) for base in BASES]
    for number in range(CHANGES):
        tree: Any = copy.deepcopy(bases[number % len(bases)])
        what = [changed(tree, chance) for _ in range(chance.choice((1, 1, 2)))]
        cfg = OmegaConf.create(tree)
        assert isinstance(cfg, DictConfig)
        sentence = ""
        try:
            assembly.assemble(cfg)
            told[False] += 1
        except UserError as error:
            told[True] += 1
            sentence = str(error)
        except Exception as error:
            pytest.fail(f"{BASES[number % len(bases)]}, {what}: {error!r}")
        assert "\n" not in sentence, what
    assert told[True] > CHANGES / 4
    assert told[False] > CHANGES / 20
