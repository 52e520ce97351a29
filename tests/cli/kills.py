"""Kills real trainings at random moments, lets them go on, and compares with unbroken ones.

By hand, from the root of the clone, with ``PYTHONPATH=.``:

    python tests/cli/kills.py --runs 20 --folder /tmp/kills

Each training is a process of its own, forked from one that has PyTorch imported already: else most
kills would hit the import. Runs are moved to another folder between a kill and what follows it.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lightning_rec import build, cli, training  # noqa: F401  what every training would import
from lightning_rec.files import sha256_file

COMMON = ["logger=csv", "trainer=cpu", "trainer.check_val_every_n_epoch=1"]


def start(*arguments: str) -> int:
    """Run the command line in a forked process. Returns its process id.

    The process that forks must not have used polars: its threads would be missing in the fork.
    """
    if process := os.fork():
        return process
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
        sys.argv = ["lightning-rec", *arguments]
        torch.set_num_threads(1)
        status = 70
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)


def ended(process: int) -> int:
    """Wait for a process: its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed(process: int, after: float, number: signal.Signals) -> int | None:
    """Send a signal after some seconds: the exit status, None if it had ended before."""
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            return None
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
    return ended(process)


def equal(one: Path, other: Path) -> list[str]:
    """Names of what differs between two completed runs: figures, weights, the last checkpoint."""
    differing = []
    for name in ("metrics.json", "weights.safetensors"):
        if sha256_file(one / name) != sha256_file(other / name):
            differing.append(name)
    then, now = (load_file(each / "weights.safetensors") for each in (one, other))
    differing += [name for name in then if not torch.equal(then[name], now[name])]
    ends = [
        torch.load(each / "checkpoints/last.ckpt", "cpu", weights_only=True)
        for each in (one, other)
    ]
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        if not same(ends[0][key], ends[1][key]):
            differing.append(f"last.ckpt {key}")
    return differing


def same(one: Any, other: Any) -> bool:
    """Whether two nested values are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def broken(folder: Path, arguments: list[str], whole: Path, seconds: float, chance: Any) -> str:
    """Train in ``folder``, killed once or twice on the way; what was done and what differs."""
    number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
    process, told = start("train", *arguments, f"run_dir={folder}"), []
    for _ in range(chance.choice([1, 2])):
        after = chance.uniform(0.0, seconds)
        status = killed(process, after, number)
        told.append(f"{number.name} at {after:.2f} s -> {status}")
        if status is None:
            break
        if (folder / "metrics.json").exists() and json.loads((folder / "run.json").read_text())[
            "status"
        ] == "completed":
            status = None
            break
        began = (folder / "run.json").exists()
        if began and chance.random() < 0.5:
            folder = folder.rename(folder.with_name(folder.name + "m"))
        again = (
            ["train", f"resume={folder}"] if began else ["train", *arguments, f"run_dir={folder}"]
        )
        process = start(*again)
    else:
        status = ended(process)
    done = status in (0, None) and (folder / "metrics.json").exists()
    differing = equal(whole, folder) if done else [f"exit {status}"]
    return f"{told}: {'DIFFERS ' + str(differing) if differing else 'equal'}"


def make_data(folder: Path) -> None:
    """Make up a log, a catalogue, a table of clicks and a language model, in a forked process."""
    if process := os.fork():
        ended(process)
        return
    import polars as pl
    from languages import WORDS, language

    chance, rows, clicks = random.Random(3), [], []
    for user in range(60):
        item = chance.randrange(30)
        for time_ in range(20):
            item = (item + 7) % 30 if chance.random() < 0.8 else chance.randrange(30)
            rows.append((f"u{user}", f"i{item}", time_))
            clicks.append((f"u{user}", f"i{item}", int(chance.random() < (item % 3 + 1) / 4)))
    titles = [(f"i{item}", f"{WORDS[item % 10]} {WORDS[10 + item % 7]}") for item in range(30)]
    pl.DataFrame(rows, schema=["user", "item", "ts"], orient="row").write_csv(folder / "log.csv")
    pl.DataFrame(clicks, schema=["user", "item", "y"], orient="row").write_csv(folder / "c.csv")
    pl.DataFrame(titles, schema=["item", "title"], orient="row").write_csv(folder / "items.csv")
    language("bert", folder / "bert")
    os._exit(0)


def trainings(folder: Path) -> dict[str, list[str]]:
    """Overrides of trainings of each kind, on the data that :func:`make_data` makes up."""
    log = [*COMMON, "data=table", f"data.path={folder / 'log.csv'}", "data.user=user",
           "data.item=item", "data.time=ts", "protocol.cutoffs=[1,5,10]", "batches.max_len=10",
           "batches.batch_size=4", "trainer.max_epochs=4", "callbacks.last.every_n_train_steps=5"]  # fmt: skip
    titled = [f"data.catalogue={folder / 'items.csv'}", "data.catalogue_item=item",
              "data.catalogue_title=title", "loss=in_batch", "item=text", f"item.encoder={folder / 'bert'}"]  # fmt: skip
    table = [*COMMON, "data=click_table", f"data.path={folder / 'c.csv'}", "data.fields.label=y",
             "data.fields.categorical=[user,item]", "batches.batch_size=16", "trainer.max_epochs=4",
             "model.dim=8", "model.mlp=[16]", "model.dropout=0.2"]  # fmt: skip
    return {
        "sequences": [*log, "model=bert4rec", "model.dim=8", "model.depth=1"],
        "clicks": [*table, "model=deepfm", "callbacks.last.every_n_train_steps=7"],
        "text": [*log, *titled, "model=sasrec", "model.dim=8", "model.depth=1", "adapter=lora"],
        "negatives": [*log, "model=sasrec", "model.dim=8", "model.depth=1", "loss=sampled_softmax",
                      "loss.negatives=5",                      "trainer.accumulate_grad_batches=2", "schedule=plateau"],
    }  # fmt: skip


def main() -> int:
    """Kill, let go on and compare, as often as is asked for. Returns how many runs differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    shutil.rmtree(asked.folder, ignore_errors=True)
    asked.folder.mkdir(parents=True)
    os.environ["LIGHTNING_REC_CACHE"] = str(asked.folder / "cache")
    make_data(asked.folder)
    chance, kinds, seconds = random.Random(asked.seed), trainings(asked.folder), {}
    for kind, arguments in kinds.items():
        for name in ("first", kind):  # the first one fills the cache
            begin = time.monotonic()
            status = ended(start("train", *arguments, f"run_dir={asked.folder / name}"))
            seconds[kind] = time.monotonic() - begin
            shutil.rmtree(asked.folder / "first", ignore_errors=True)
        print(f"{kind}: unbroken {seconds[kind]:.1f} s, exit {status}", flush=True)
    bad = 0
    for number in range(asked.runs):
        kind = list(kinds)[number % len(kinds)]
        folder = asked.folder / f"{kind}_{number}"
        told = broken(folder, kinds[kind], asked.folder / kind, seconds[kind], chance)
        bad += not told.endswith(": equal")
        print(f"{number:3} {kind}: {told}", flush=True)
    print(f"{asked.runs} runs, {bad} of them differ")
    return bad


if __name__ == "__main__":
    sys.exit(main())
