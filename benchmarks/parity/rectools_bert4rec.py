"""BERT4Rec of RecTools on MovieLens-100K under the protocol of ``split.py``.

``session_max_len`` counts the mask: 49 items and the mask at inference, 50 items in training. The
model is fitted on train in steps of ten epochs (``fit_partial`` keeps network and optimizer), and
recommends from a second dataset that holds the validation events too. RecTools builds its
vocabulary from the last 50 train events of each user, so older items can never be recommended.
"""

import logging
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel

from benchmarks.parity.record import EVERY, SETTINGS, Record, parse_args
from benchmarks.parity.split import TOP, UNKNOWN, Split, load_split

DEFAULTS = {
    "masking": "80 % mask, 10 % random item, 10 % kept; a row may have no masked item",
    "training rows": "the last 50 events of each user, one row per user and epoch",
    "vocabulary": "items among the last 50 train events of some user, plus PAD and MASK classes",
    "block": "pre-norm, no final norm, dropout once more after the block",
    "ffn": "4 x 64, GELU",
    "attention dropout": 0.2,
    "positions": "learned, counted from the end",
    "output": "tied to the item embedding, no bias, no projection",
    "loss": "mean over masked positions",
    "adam betas": [0.9, 0.98],
    "init": "Xavier normal for every matrix",
}


def build_datasets(split: Split) -> tuple[Dataset, Dataset]:
    """RecTools datasets of train, and of train with the validation events."""
    lengths = [len(seq) for seq in split.train]
    users = np.arange(len(lengths))
    train = pd.DataFrame(
        {
            Columns.User: np.repeat(users, lengths),
            Columns.Item: np.concatenate(split.train),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(np.concatenate(split.train_times), unit="s"),
        }
    )
    known = split.val_target != UNKNOWN
    val = pd.DataFrame(
        {
            Columns.User: users[known],
            Columns.Item: split.val_target[known],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(split.val_time[known], unit="s"),
        }
    )
    return Dataset.construct(train), Dataset.construct(pd.concat([train, val], ignore_index=True))


def recommend(model: BERT4RecModel, dataset: Dataset, n_users: int) -> np.ndarray:
    """The best unseen items of every user [U, TOP]."""
    table = model.recommend(np.arange(n_users), dataset, k=TOP, filter_viewed=True)
    table = table.sort_values([Columns.User, Columns.Rank])
    found: np.ndarray = table[Columns.Item].to_numpy()
    return found.reshape(n_users, TOP)


def main() -> None:
    """Train one seed, evaluate every ten epochs, write the JSON."""
    args = parse_args(__doc__)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    seed_everything(args.seed)

    split = load_split(args.data)
    train, train_val = build_datasets(split)
    model = BERT4RecModel(
        n_factors=SETTINGS["dim"],
        n_blocks=SETTINGS["depth"],
        n_heads=SETTINGS["heads"],
        session_max_len=SETTINGS["max_len"],
        dropout_rate=SETTINGS["dropout"],
        mask_prob=SETTINGS["mask_prob"],
        loss="softmax",
        lr=SETTINGS["lr"],
        batch_size=SETTINGS["batch_size"],
        recommend_torch_device="cpu",
    )
    record = Record(split)
    for epoch in range(EVERY, args.epochs + 1, EVERY):
        model.fit_partial(train, min_epochs=EVERY, max_epochs=EVERY)
        began = time.perf_counter()
        n_users = len(split.train)
        record.add(epoch, recommend(model, train, n_users), recommend(model, train_val, n_users))
        record.eval_seconds += time.perf_counter() - began
    known_items = len(model.data_preparator.get_known_item_ids())
    record.write(args.out, "rectools", args, DEFAULTS | {"items in its vocabulary": known_items})


if __name__ == "__main__":
    main()
