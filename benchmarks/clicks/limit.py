"""What plain PyTorch reaches: DeepFM and DCN-V2 written down once more, with nothing around them.

The same networks, penalty, clipping, rates and rows as ours, in one file and one loop: rows lie in
memory as one tensor, and a batch is one index. Only torch's own functions compute.
"""

from benchmarks.harness import record  # its clock starts before the library is imported

# isort: split
from argparse import Namespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.clicks import asked
from benchmarks.clicks.data import LABEL, Export
from benchmarks.clicks.measure import run
from benchmarks.harness.probe import Step
from lightning_rec.metrics.classification import auc
from lightning_rec.metrics.order import in_order

IMPORT_SECONDS = record.since_start()
Rows = tuple[Tensor, Tensor, Tensor]


class Vectors(nn.Module):
    """One vector per field: single ids first, then the mean of each list, then numbers."""

    def __init__(self, data: Export, dim: int) -> None:
        super().__init__()
        self.single = len(data.of("categorical"))
        self.widths = [field["width"] for field in data.of("multi_valued")]
        self.table = nn.Embedding(1 + sum(f["size"] for f in data.meta["fields"]), dim)
        self.numbers = len(data.of("numeric"))
        nn.init.normal_(self.table.weight, std=1e-4)
        with torch.no_grad():
            self.table.weight[0] = 0

    def forward(self, ids: Tensor, values: Tensor) -> Tensor:
        """Ids int64 [B, I] and values float [B, D] -> float [B, F, dim]."""
        found = self.table(ids)  # [B, I, dim]
        single, *lists = found.split([self.single, *self.widths], 1)
        fields, at = [single], self.single
        for own in lists:
            number = (ids[:, at : at + own.shape[1]] > 0).sum(1, keepdim=True).clamp(min=1)
            fields.append(own.sum(1, keepdim=True) / number[:, :, None])
            at += own.shape[1]
        if self.numbers:
            fields.append(values[:, :, None] * self.table.weight[-self.numbers :])
        return torch.cat(fields, 1)


def network(inputs: int, wanted: dict[str, Any]) -> nn.Sequential:
    """Linear, batch norm, ReLU, dropout."""
    layers: list[nn.Module] = []
    for width in wanted["mlp"]:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        layers.append(nn.Dropout(wanted["dropout"]))
        inputs = width
    return nn.Sequential(*layers)


class DeepFM(nn.Module):
    """Pairs of vectors, weights of values, and a network."""

    def __init__(self, data: Export, wanted: dict[str, Any]) -> None:
        super().__init__()
        self.vectors, self.weights = Vectors(data, wanted["dim"]), Vectors(data, 1)
        self.deep = network(len(data.meta["fields"]) * wanted["dim"], wanted)
        self.output = nn.Linear(wanted["mlp"][-1], 1)

    def forward(self, ids: Tensor, values: Tensor) -> Tensor:
        """Logits, float [B]."""
        v = self.vectors(ids, values)
        pairs = (v.sum(1).square() - v.square().sum(1)).sum(1) / 2
        first = self.weights(ids, values).sum((1, 2))
        logits: Tensor = first + pairs + self.output(self.deep(v.flatten(1)))[:, 0]
        return logits


class DCNv2(nn.Module):
    """Crosses beside a network."""

    def __init__(self, data: Export, wanted: dict[str, Any]) -> None:
        super().__init__()
        width = len(data.meta["fields"]) * wanted["dim"]
        self.vectors = Vectors(data, wanted["dim"])
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(wanted["depth"]))
        self.deep = network(width, wanted)
        self.output = nn.Linear(width + wanted["mlp"][-1], 1)

    def forward(self, ids: Tensor, values: Tensor) -> Tensor:
        """Logits, float [B]."""
        first = x = self.vectors(ids, values).flatten(1)
        for layer in self.cross:
            x = first * layer(x) + x
        logits: Tensor = self.output(torch.cat([x, self.deep(first)], 1))[:, 0]
        return logits


MODELS = {"deepfm": DeepFM, "dcnv2": DCNv2}


class Limit:
    """A loop over whole batches."""

    library = "torch"

    def __init__(self, args: Namespace, data: Export) -> None:
        self.args, self.data = args, data
        self.wanted = asked.settings(data.meta, args)
        self.notes: dict[str, Any] = {"variant": "hand-written"}

    def prepare(self, seed: int) -> None:
        """Seed, make the model, and put the rows into tensors."""
        torch.manual_seed(seed)
        self.rows = {part: self._rows(part) for part in self.data.parts}
        self.model = MODELS[self.args.model](self.data, self.wanted)
        for module in self.model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)
        self.tables = [m.weight for m in self.model.modules() if isinstance(m, nn.Embedding)]
        self.optimizer = torch.optim.Adam(self.model.parameters(), self.wanted["lr"])

    def _rows(self, part: str) -> Rows:
        columns, start = self.data.parts[part], 1
        ids, values = [], []
        for field in self.data.meta["fields"]:
            own = columns[field["name"]]
            if field["kind"] == "numeric":
                values.append(own)
            elif field["kind"] == "categorical":
                ids.append(own + start)
            else:
                ids.append(np.where(own > 0, own + start - 1, 0))
            start += field["size"]
        numbers = np.column_stack(values) if values else np.zeros((len(own), 0), np.float32)
        together = torch.from_numpy(np.column_stack(ids).astype(np.int64))
        return together, torch.from_numpy(numbers), torch.from_numpy(columns[LABEL])

    def fit(self, step: Step | None) -> int:
        """Train until ``step`` says so; the rate falls after an epoch that brings nothing."""
        assert step is not None
        ids, values, label = self.rows["train"]
        best, epoch = 0.0, 0
        while True:
            self.model.train()
            for at in torch.randperm(len(label)).split(self.wanted["batch_size"]):
                loss = F.binary_cross_entropy_with_logits(
                    self.model(ids[at], values[at]), label[at]
                )
                for table in self.tables:
                    loss = loss + self.wanted["embedding_l2"] / 2 * table.square().sum()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), self.wanted["clip"])
                self.optimizer.step()
                if step(len(at)):
                    return epoch
            epoch += 1
            if self.args.measure == "speed":
                continue
            now = self.evaluate()["auc"]
            if now <= best + 1e-6:
                for group in self.optimizer.param_groups:
                    group["lr"] = max(group["lr"] * self.wanted["factor"], 1e-6)
            best = max(best, now)

    @torch.no_grad()
    def _logits(self, part: str) -> Tensor:
        self.model.eval()
        ids, values, _ = self.rows[part]
        size = self.wanted["eval_batch_size"]
        pairs = zip(ids.split(size), values.split(size), strict=True)
        return torch.cat([self.model(*pair) for pair in pairs])

    def evaluate(self) -> dict[str, float]:
        """The exact AUC of validation."""
        return {"auc": float(auc(in_order(self._logits("val"), self.rows["val"][2])))}

    def probabilities(self, part: str) -> NDArray[np.float64]:
        """Sigmoid of the logits."""
        still = self.model.training
        found = torch.sigmoid(self._logits(part).double()).numpy()
        self.model.train(still)
        return found


if __name__ == "__main__":
    run(Limit, Limit.library, __doc__, IMPORT_SECONDS)
