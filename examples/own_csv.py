# %% [markdown]
# # From a CSV of your own to recommendations
#
# Check the file, train SASRec on it, and ask the run. Everything is written into the present folder. The cells open as
# a notebook in VS Code, PyCharm and Jupyter (with jupytext).
#
# The log is made up here, so that the script runs anywhere: a user goes from item to item by steps of seven, and now
# and then to one of three items that everybody likes. Put your own file in its place, and its columns below.

# %%
import random
import subprocess
import sys
from pathlib import Path

import polars as pl

from lightning_rec import load_run

LOG = Path("log.csv")
COLUMNS = ["user=customer", "item=sku", "time=bought_at"]  # yours are called otherwise


def lightning_rec(*arguments: str) -> None:
    """The command line, as in a terminal."""
    subprocess.run([sys.executable, "-m", "lightning_rec", *arguments], check=True)


# %%
if not LOG.exists():
    chance = random.Random(1)
    events = []
    for user in range(80):
        item = chance.randrange(40)
        for step in range(chance.randint(12, 20)):
            item = chance.randrange(3) if chance.random() < 0.1 else (item + 7) % 40
            events.append((f"c{user:02d}", f"sku{item:02d}", 1_700_000_000 + 3600 * step + user))
    pl.DataFrame(events, ["customer", "sku", "bought_at"], orient="row").write_csv(LOG)

# %% [markdown]
# What is wrong or odd about the file is listed, with the line of the first such row. Users come back to items here, so
# the check advises `protocol.seen=keep`: what a user had before stays a candidate.

# %%
lightning_rec("data", "check", str(LOG), *COLUMNS)

# %% [markdown]
# The last event of each user is tested, the one before it is validated on. At the end there is a table of figures beside
# those of Popularity, and the folder of the run.

# %%
lightning_rec(
    "train",
    "data=table",
    f"data.path={LOG}",
    *(f"data.{column}" for column in COLUMNS),
    "protocol.seen=keep",
    "model=sasrec",
    "model.dim=16",
    "trainer.max_epochs=10",
    "protocol.cutoffs=[1,5,10]",
    "logger=csv",
    "run_dir=runs/own_csv",
)

# %% [markdown]
# The run answers without its data: for users that it knows, and for histories that it has never seen.

# %%
model = load_run("runs/own_csv")
print(model.recommend(users=["c01", "c02"], k=3))
print(model.recommend([["sku00", "sku07", "sku14"], ["sku05"]], k=3))
print(model.similar(["sku00"], k=3))
