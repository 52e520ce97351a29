"""KGAT of RecBole on MovieLens-100K and its knowledge graph under the protocol of ``split.py``.

RecBole is given the training events alone, so that its items are the 1,678 of the split, and is
trained by its own trainer; after each epoch its scores are ranked here. Parts of it are replaced,
since they fail or change the data (``Whole``, ``Graphed``), or, unless ``--as-it-is``, by equal
ones that are sooner (``Quick``).
"""

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch
from recbole.config import Config
from recbole.data.dataloader import KnowledgeBasedDataLoader
from recbole.data.dataset import KnowledgeBasedDataset
from recbole.model.knowledge_aware_recommender import KGAT
from recbole.sampler import KGSampler, Sampler
from recbole.trainer import KGATTrainer
from recbole.utils import init_seed
from scipy import sparse

from benchmarks.parity.record import Record, parse_args
from benchmarks.parity.split import TOP, Split, load_split

NAME = "movies"  # of "ml-100k" RecBole would read the whole log that it ships
SETTINGS: dict[str, Any] = {
    "dim": 64,
    "relation_dim": 64,
    "widths": [64],
    "dropout": 0.1,
    "l2": 1e-5,
    "loss": "BPR, then TransR",
    "optimizer": "Adam",
    "lr": 5e-3,
    "batch_size": 2048,
    "triples": 2048,
}
DEFAULTS = {
    "init": "Xavier normal for every table and matrix, biases 0",
    "negatives": "an item that the user has not in train, drawn evenly",
    "negatives of triples": "a tail, drawn evenly, that no triple of that head has",
    "l2": "lengths of whole matrices, not squared, over the batch size",
    "attention": "made anew after each epoch; of two relations between two entities the sum",
}


def options(seed: int, epochs: int) -> dict[str, Any]:
    """The configuration of RecBole."""
    return {
        "seed": seed,
        "reproducibility": False,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "data_path": ".",
        "load_col": {
            "inter": ["user_id", "item_id"],
            "kg": ["head_id", "relation_id", "tail_id"],
            "link": ["item_id", "entity_id"],
        },
        "train_neg_sample_args": {
            "distribution": "uniform",
            "sample_num": 1,
            "alpha": 1.0,
            "dynamic": False,
            "candidate_num": 0,
        },
        "embedding_size": SETTINGS["dim"],
        "kg_embedding_size": SETTINGS["relation_dim"],
        "layers": SETTINGS["widths"],
        "mess_dropout": SETTINGS["dropout"],
        "reg_weight": SETTINGS["l2"],
        "aggregator_type": "bi",
        "learner": "adam",
        "learning_rate": SETTINGS["lr"],
        "weight_decay": 0.0,
        "train_batch_size": SETTINGS["batch_size"],
        "epochs": epochs,
    }


class Whole(KnowledgeBasedDataset):  # type: ignore[misc]
    """RecBole drops the events of items without a link, which the split has: they are kept."""

    inter_feat: pd.DataFrame

    def _filter_link(self) -> None:
        events = self.inter_feat.copy()
        super()._filter_link()
        self.inter_feat = events

    def ckg_graph(self, form: str = "coo", value_field: str | None = None) -> Any:
        """A graph of dgl is asked for, for what :class:`Graphed` makes without."""
        return None if form == "dgl" else super().ckg_graph(form, value_field)


class Graphed(KGAT):  # type: ignore[misc]
    """Its first attention is made by dgl, by calls that dgl no longer has: here by scipy."""

    def init_graph(self) -> torch.Tensor:
        """For each relation the adjacency matrix, its rows divided by their sums; the sum."""
        head, tail, relation = (each.numpy() for each in (self.all_hs, self.all_ts, self.all_rs))
        total = sparse.csr_matrix(tuple(self.matrix_size))
        for number in range(1, self.n_relations):
            own = relation == number
            pairs = (head[own], tail[own])
            adjacency = sparse.coo_matrix((np.ones(own.sum()), pairs), self.matrix_size).tocsr()
            degree = np.asarray(adjacency.sum(1)).ravel()
            total += sparse.diags(1 / np.maximum(degree, 1)) @ adjacency
        total = total.tocoo()
        at = torch.from_numpy(np.stack([total.row, total.col]).astype(np.int64))
        values = torch.from_numpy(total.data).float()
        return torch.sparse_coo_tensor(at, values, self.matrix_size).to(self.device)


class _Product(torch.autograd.Function):
    """A sparse matrix times a dense one, whose gradient is by the transpose, made beforehand."""

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, *both: torch.Tensor) -> torch.Tensor:
        ctx.transposed = both[1]
        return both[0] @ vectors

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.transposed @ grad, None, None


class Quick(Graphed):
    """The same of one layer with fewer operations: the layer is made of users and items alone, of
    which loss and scores are; and three vectors are projected at once.
    """

    def __init__(self, config: Config, dataset: KnowledgeBasedDataset) -> None:
        super().__init__(config, dataset)
        self._keep()

    def _keep(self) -> None:
        attention, asked = self.A_in.coalesce(), self.n_users + self.n_items
        at, values = attention.indices(), attention.values()
        own = at[0] < asked
        row, column = at[:, own].numpy()
        shape = (asked, self.matrix_size[0])
        rows = sparse.csr_matrix((values[own].numpy(), (row, column)), shape=shape)
        self.both = [
            torch.sparse_csr_tensor(
                torch.from_numpy(each.indptr), torch.from_numpy(each.indices),
                torch.from_numpy(each.data), each.shape,
            )
            for each in (rows, rows.T.tocsr())
        ]  # fmt: skip

    def update_attentive_A(self) -> None:
        """Also kept by rows."""
        super().update_attentive_A()
        self._keep()

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of users, and of items in place of all entities."""
        every = self._get_ego_embeddings()
        side: torch.Tensor = _Product.apply(every, *self.both)  # type: ignore[no-untyped-call]
        own, (layer,) = every[: len(side)], self.aggregator_layers
        made = layer.activation(layer.W2(own * side)) + layer.activation(layer.W1(own + side))
        made = torch.nn.functional.normalize(layer.message_dropout(made), p=2, dim=1)
        users, items = torch.cat([own, made], dim=1).split([self.n_users, self.n_items])
        return users, items

    def _get_kg_embedding(self, h: Any, r: Any, pos_t: Any, neg_t: Any) -> Any:
        project = self.trans_w(r).view(len(r), self.embedding_size, self.kg_embedding_size)
        nodes = torch.stack([self.entity_embedding(each) for each in (h, pos_t, neg_t)], dim=1)
        head, true, false = torch.bmm(nodes, project).unbind(dim=1)
        return head, self.relation_embedding(r), true, false


class Watched(KGATTrainer):  # type: ignore[misc]
    """Its evaluation has other rules for ties and histories: lists are made and judged here."""

    def watch(self, split: Split, record: Record, users: torch.Tensor, items: torch.Tensor) -> None:
        """``users`` [U], ``items`` [V]: RecBole's numbers of those of the split."""
        self.split, self.record_, self.users, self.items = split, record, users, items
        self.seconds: list[float] = []

    def _train_epoch(self, train_data: Any, epoch_idx: int, *rest: Any, **more: Any) -> Any:
        began = time.process_time()
        loss = super()._train_epoch(train_data, epoch_idx, *rest, **more)
        self.seconds.append(time.process_time() - began)
        ended = time.perf_counter()
        self.model.eval()
        with torch.no_grad():
            users, entities = self.model()
        scores = users[self.users] @ entities[self.items].T
        histories = self.split.train, self.split.test_input
        self.record_.add(epoch_idx + 1, *(best_unseen(scores, each) for each in histories))
        self.record_.eval_seconds += time.perf_counter() - ended
        told = {name: round(self.record_.last[name], 4) for name in ("val/ndcg@10", "test/ndcg@10")}
        print(epoch_idx + 1, f"{self.seconds[-1]:.1f} CPU seconds", loss, told, flush=True)
        return loss


def best_unseen(scores: torch.Tensor, histories: list[np.ndarray]) -> np.ndarray:
    """The best items of every user that are not in the history: [U, TOP]."""
    row = np.repeat(np.arange(len(histories)), [len(seen) for seen in histories])
    seen = torch.from_numpy(row), torch.from_numpy(np.concatenate(histories))
    found: np.ndarray = scores.index_put(seen, torch.tensor(-torch.inf)).topk(TOP).indices.numpy()
    return found


def write_events(split: Split) -> None:
    """The training events beside RecBole's own files of the graph, in its own format."""
    Path(NAME).mkdir()
    lengths = [len(seq) for seq in split.train]
    events = pd.DataFrame({
        "user_id:token": np.repeat(np.arange(len(lengths)), lengths),
        "item_id:token": split.vocabulary[np.concatenate(split.train)],
    })  # fmt: skip
    events.to_csv(f"{NAME}/{NAME}.inter", sep="\t", index=False)
    shipped = Path(recbole.__file__).parent / "dataset_example" / "ml-100k"
    for kind in ("kg", "link"):
        Path(f"{NAME}/{NAME}.{kind}").write_bytes((shipped / f"ml-100k.{kind}").read_bytes())


def check(dataset: KnowledgeBasedDataset, split: Split) -> dict[str, int]:
    """What RecBole read. Raises if events, items or triples are missing."""
    counts = {
        "events": len(dataset.inter_feat),
        "items": dataset.item_num - 1,
        "linked items": len(dataset.item2entity),
        "triples": len(dataset.kg_feat),
        "entities": dataset.entity_num - 1,  # with items that no triple mentions
        "relations": dataset.relation_num - 2,  # without padding, users' events
    }
    wanted = {
        "events": sum(map(len, split.train)),
        "items": split.n_items,
        "triples": 91_631,
        "relations": 24,
    }
    if odd := {name: counts[name] for name, number in wanted.items() if counts[name] != number}:
        raise ValueError(f"RecBole read {odd}, wanted are {wanted}")
    return counts


def main() -> None:
    """Train one seed, evaluate after every epoch, write the JSON."""
    args = parse_args(__doc__, 20, 1, {"as-it-is": "without Quick, and in RecBole's anomaly mode"})
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    sys.argv = sys.argv[:1]  # RecBole would read the command line
    split, out = load_split(args.data), args.out.absolute()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes its logs into the working directory
        write_events(split)
        config = Config(model="KGAT", dataset=NAME, config_dict=options(args.seed, args.epochs))
        init_seed(args.seed, reproducibility=False)
        dataset = Whole(config)
        counts = check(dataset, split)
        dataset._change_feat_format()
        ids = {"user_id": np.arange(len(split.train)), "item_id": split.vocabulary}
        coded = [dataset.token2id(name, each.astype(str)) for name, each in ids.items()]
        sampler = Sampler(["train"], [dataset], "uniform", 1.0).set_phase("train")
        triples = KGSampler(dataset, "uniform", 1.0)
        loader = KnowledgeBasedDataLoader(config, dataset, sampler, triples, shuffle=True)
        trainer = Watched(config, (Graphed if args.as_it_is else Quick)(config, dataset))
        trainer.watch(split, record := Record(split), *map(torch.from_numpy, coded))
        # An import of RecBole switches this on for all models, which slows steps and changes none.
        torch.autograd.set_detect_anomaly(args.as_it_is)
        trainer.fit(loader, verbose=False, saved=False, show_progress=False)
        defaults = DEFAULTS | {
            "read": counts,
            "epoch_cpu_seconds": round(float(np.median(trainer.seconds)), 2),
            "as it is": args.as_it_is,
            "anomaly_mode": torch.is_anomaly_enabled(),
        }
        record.write(out, "recbole", args, defaults, SETTINGS)


if __name__ == "__main__":
    main()
