"""Configs changed at random, by a fixed seed: each is taken or refused in a sentence, nothing else.

Some of those that are taken are trained for a step. More of them, and others:
``RANDOM_TRAININGS=300 RANDOM_SEED=7 pytest tests/test_random_configs.py``.
"""

import copy
import itertools
import os
import random
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.errors import UserError
from lightning_rec.training import train

CHANGES = 150
TRAININGS = int(os.environ.get("RANDOM_TRAININGS", "6"))
SEED = int(os.environ.get("RANDOM_SEED", "20261127"))
BASES: tuple[list[str], ...] = (
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


def differing(bases: list[list[str]]) -> Iterator[tuple[list[str], list[str], DictConfig]]:
    """Bases in turn, what was changed of each at random, and the config that came of it."""
    chance = random.Random(SEED)
    trees = [OmegaConf.to_container(config.compose(base), resolve=False) for base in bases]
    while True:
        for base, there in zip(bases, trees, strict=True):
            tree: Any = copy.deepcopy(there)
            what = [changed(tree, chance) for _ in range(chance.choice((1, 1, 2)))]
            cfg = OmegaConf.create(tree)
            assert isinstance(cfg, DictConfig)
            yield base, what, cfg


def test_a_config_changed_at_random_is_taken_or_refused_in_a_sentence() -> None:
    told = {True: 0, False: 0}
    for base, what, cfg in itertools.islice(differing(list(BASES)), CHANGES):
        sentence = ""
        try:
            problem_of(cfg)
            told[False] += 1
        except UserError as error:
            told[True] += 1
            sentence = str(error)
        except Exception as error:
            pytest.fail(f"{base}, {what}: {error!r}")
        assert "\n" not in sentence, what
    assert told[True] > CHANGES / 4
    assert told[False] > CHANGES / 20


@pytest.fixture
def small(
    log_csv: Path, click_csv: Path, pairs_csv: Path, catalogue_csv: Path, tiny_bert: Path
) -> list[list[str]]:
    """Runs of every problem that take a fraction of a second."""
    quick = ["logger=none", "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    log = [
        *quick, "data=table", f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts",
        "model.dim=8", "batches.max_len=10", "batches.batch_size=16", "protocol.cutoffs=[1,5]",
    ]  # fmt: skip
    texts = [
        f"data.catalogue={catalogue_csv}",
        "data.catalogue_item=sku",
        "data.catalogue_title=title",
        "item=text",
        f"item.encoder={tiny_bert}",
    ]
    clicks = [
        *quick, "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked", "data.fields.time=ts",
        "data.fields.categorical=[uid,sku,device]", "data.fields.multi_valued=[tags]", "data.fields.numeric=[price]",
        "model.dim=4", "batches.batch_size=64",
    ]  # fmt: skip
    pairs = [
        *quick, "data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2.5", "data.scale=[1,3]", "protocol.cutoffs=[1,5]",
        f"model.encoder={tiny_bert}", "batches.batch_size=8",
    ]  # fmt: skip
    return [
        log,
        [*log, "model=sasrec", "loss=gbce"],
        [*clicks, "model=deepfm"],
        [*log, "model=sasrec", *texts, "adapter=lora", "loss=in_batch"],
        [
            *log,
            "model=gru4rec",
            "protocol=temporal",
            "schedule=warmup_decay",
            "loss=sampled_softmax",
        ],
        [*clicks, "model=dcnv2", "schedule=plateau"],
        [*pairs, "model=bi_encoder"],
    ]


def test_what_is_taken_can_be_trained(small: list[list[str]], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    trained, failed = 0, []
    for number, (base, what, cfg) in enumerate(differing(small)):
        elsewhere = any(repr(place) in each for each in what for place in ("/", "../../x"))
        try:
            problem_of(cfg)
            if elsewhere:
                continue  # it would write there
            cfg.trainer.max_epochs = cfg.trainer.limit_train_batches = 1
            train(cfg, tmp_path / str(number), [])
            trained += 1
        except UserError:
            pass
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            trained += 1
            failed.append(f"{base[-3:]}, {what}: {error!r} ({where.filename}:{where.lineno})")
        if trained == TRAININGS:
            break
    assert failed == []
