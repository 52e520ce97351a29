"""Models as functions of plain tensors, which is what can be exported: no NamedTuples, no texts.

Shapes: B rows, L items of a history, T tokens, I columns of ids, D numbers, G goals, Q and E widths
of queries and of vectors of texts.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import Rows
from lightning_rec.data.split import Histories
from lightning_rec.errors import UserError
from lightning_rec.language.tokens import Tokens
from lightning_rec.models.base import InnerProduct
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.text.bi_encoder import BiEncoder
from lightning_rec.models.text.cross_encoder import CrossEncoder


class Plain(NamedTuple):
    """A model to be exported.

    kind: ``sequences``, ``clicks``, ``texts`` (a vector of each) or ``pairs`` (a score of each).
    module: takes ``inputs`` by position, gives one tensor.
    inputs: an example of each input by name; the first axis is that of rows.
    longest: how long the second axis may be, where it may vary; None where it is as it is.
    output: the name of what the module gives.
    """

    kind: str
    module: nn.Module
    inputs: dict[str, Tensor]
    longest: int | None
    output: str


class Queries(nn.Module):
    """Histories, int64 [B, L] codes padded on the right, at least one item each -> float [B, Q].

    Where items have a bias one more column of 1 meets it, as in ``user_vectors``.
    """

    def __init__(self, model: InnerProduct, objective: Any) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        self.biased = model.vectors().bias is not None

    def forward(self, history: Tensor) -> Tensor:
        """The query of the next item of each history."""
        histories = Histories(history, torch.zeros_like(history[:, 0]))
        asked, positions = self.objective.query_inputs(histories, self.model.schema)
        queries: Tensor = self.model(asked, positions)
        if not self.biased:
            return queries
        return torch.cat([queries, torch.ones_like(queries[:, :1])], dim=1)


class Logits(nn.Module):
    """Ids int32 [B, I] and values float32 [B, D] -> logits float [B, G]."""

    def __init__(self, model: ClickModel) -> None:
        super().__init__()
        self.model = model
        self.goals = len(model.schema.goals)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """The logit of each goal of each row."""
        if values is None:
            values = torch.zeros_like(ids[:, :0], dtype=torch.float32)
        logits: Tensor = self.model(Rows(ids, values))
        return logits.reshape(-1, self.goals)


class Vectors(nn.Module):
    """Token ids, and 1 where there is one, 0 for padding, int64 [B, T] -> float [B, E]."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    def forward(self, ids: Tensor, mask: Tensor, kinds: Tensor | None = None) -> Tensor:
        """The vector of each text; ``kinds``: see :class:`Tokens`."""
        vectors: Tensor = self.text(Tokens(ids, mask > 0, kinds))
        return vectors


class PairScores(Vectors):
    """The same of two texts written as one -> their score, float [B]."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__(model.text)
        self.head = model.head

    def forward(self, ids: Tensor, mask: Tensor, kinds: Tensor | None = None) -> Tensor:
        """The score of each pair."""
        scores: Tensor = self.head(super().forward(ids, mask, kinds))
        return scores[:, 0]


def plain(model: nn.Module, objective: Any = None) -> Plain:
    """A trained model as a function of plain tensors.

    ``objective``: of a model of sequences. Raises UserError for a model that is not known to be
    such a function.
    """
    bare = isinstance(model, InnerProduct) and not (model.needs_users or model.reads_times)
    if isinstance(model, InnerProduct) and bare and model.side is None:
        schema = model.schema
        history = torch.full((3, 4), schema.padding)
        history[:, 0], history[0] = 0, 0
        module = Queries(model, objective)
        return Plain("sequences", module, {"history": history}, schema.max_len, "query")
    if isinstance(model, ClickModel) and not (model.schema.history or model.schema.described):
        return _clicks(model)
    if isinstance(model, BiEncoder):
        longest = max(model.max_query_tokens, model.max_item_tokens)
        return Plain("texts", Vectors(model.text), _tokens(kinds=False), longest, "vector")
    if isinstance(model, CrossEncoder):
        longest = model.max_query_tokens + model.max_item_tokens + model.joint.size
        inputs = _tokens(kinds=model.joint.kinds)
        return Plain("pairs", PairScores(model), inputs, longest, "score")
    raise UserError(
        f"{getattr(model, 'title', type(model).__name__)} cannot be exported: what can are models "
        "of sequences that score by inner products, know no users and read no times, models of "
        "clicks that read no history and no described items, bi-encoders and cross-encoders."
    )


def _clicks(model: ClickModel) -> Plain:
    numbers = len(model.schema.of("numeric"))
    inputs = {"ids": torch.zeros(3, model.schema.columns, dtype=torch.int32)}
    if numbers:
        inputs["values"] = torch.zeros(3, numbers)
    return Plain("clicks", Logits(model), inputs, None, "logit")


def _tokens(*, kinds: bool) -> dict[str, Tensor]:
    """Three texts of five tokens."""
    ids = torch.ones(3, 5, dtype=torch.int64)
    names = ("ids", "mask", "kinds") if kinds else ("ids", "mask")
    return {name: ids.clone() for name in names}
