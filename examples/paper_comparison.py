# %% [markdown]
# # The table of a paper: models over seeds, with intervals
#
# One sweep trains every model with every seed on the same data and protocol; `lightning_rec.lab` reads the folder and
# makes the table, in Markdown and in LaTeX. For a real table leave out the lines marked as short, and take more seeds.

# %%
import random
import subprocess
import sys
from pathlib import Path

import polars as pl

from lightning_rec.lab import compare, read_runs, table

LOG, SWEEP = Path("comparison.csv"), Path("runs/comparison")


def lightning_rec(*arguments: str) -> None:
    """The command line, as in a terminal."""
    subprocess.run([sys.executable, "-m", "lightning_rec", *arguments], check=True)


# %%
if not LOG.exists():  # made up, so that the script runs anywhere
    chance = random.Random(1)
    events = []
    for user in range(80):
        item = chance.randrange(40)
        for step in range(chance.randint(12, 20)):
            item = chance.randrange(3) if chance.random() < 0.1 else (item + 7) % 40
            events.append((f"u{user:02d}", f"i{item:02d}", 1_700_000_000 + 3600 * step + user))
    pl.DataFrame(events, ["user", "item", "time"], orient="row").write_csv(LOG)

# %% [markdown]
# `-m` runs all combinations of the values with commas. The same command again goes on where it was stopped, and runs only
# what is missing.

# %%
lightning_rec(
    "train",
    "-m",
    "model=bprmf,sasrec",
    "seed=1,2",
    "data=table",
    f"data.path={LOG}",
    "data.user=user",
    "data.item=item",
    "data.time=time",
    "protocol.cutoffs=[1,5,10]",
    "model.dim=16",  # short
    "trainer.max_epochs=2",  # short
    "trainer.check_val_every_n_epoch=1",  # short
    "logger=csv",
    f"run_dir={SWEEP}",
)

# %% [markdown]
# Mean ± sd over seeds, and the difference from a baseline with Welch's 95 % interval.

# %%
found = compare(SWEEP, figures=["test/ndcg@10", "test/recall@10"], baseline="model=bprmf")
print(found)
print(found.latex("Test figures on a made-up log, two seeds.", "tab:comparison"))

# %% [markdown]
# All numbers are in `found.frame`; those of each run, with times and memory, in `read_runs`. `table`
# lays out means alone.

# %%
print(found.frame.select("setting", "figure", "mean", "difference", "p"))
print(read_runs(SWEEP).select("setting", "seed", "test/ndcg@10", "cpu_seconds"))
print(table(SWEEP, figures=["val/ndcg@10", "test/mrr"]))
