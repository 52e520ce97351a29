"""What neural sequence models share: an item encoder, the scores by it, and how weights start."""

from functools import partial

from torch import Tensor, nn

from lightning_rec.data.side import Columns
from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.items.base import Init, modules_beside_items
from lightning_rec.models.items.ids import Items
from lightning_rec.models.side import Side

NORMAL = partial(nn.init.normal_, std=0.02)
TRUNCATED = partial(nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04)  # BERT's


class NeuralSequenceModel(InnerProduct):
    """A network over item vectors, whose output layer is the item encoder or a second table.

    Constructors name alike what they share: ``dim``, width of item vectors and hidden states;
    ``depth``, number of layers; ``heads`` of attention, which must divide ``dim``; ``feedforward``,
    width of the feed-forward layer as a multiple of ``dim``; ``dropout``, after the embeddings and
    in each layer; ``tied``, whether items are scored by the input's item vectors instead of a
    second table; ``items``, which makes the item encoder.

    Shapes: B sequences, L positions, D = dim, H heads, V = num_items, M queries.

    Raises ValueError if ``heads`` does not divide ``dim``.
    """

    objectives = ("next_item",)

    def __init__(self, schema: Schema, dim: int, items: Items, heads: int = 1) -> None:
        super().__init__(schema)
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.item = items(schema, dim)
        self.output: nn.Embedding | None = None
        self.output_bias: nn.Parameter | None = None

    def initialise(self, init: Init, linear: Init | None = None) -> None:
        """Draw item vectors and all weights by ``init``, those of linear maps by ``linear``."""
        self.item.initialise(init)
        for module in modules_beside_items(self):
            if isinstance(module, nn.Linear | nn.Embedding):
                init(module.weight)
            if isinstance(module, nn.Linear):
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if linear is not None:
                    linear(module.weight)

    def embedded(self, histories: Histories) -> Tensor:
        """What layers begin with, float [B, L, D]: the vectors of a history's items, with what is
        known of events and users added where a config names columns of them.
        """
        vectors: Tensor = self.item(histories.items)
        if self.side is None:
            return vectors
        read: Tensor = self.side(vectors, histories, self.schema.padding)
        return read

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The rows of the output layer, and its biases if it has any."""
        output, bias = self.output, self.output_bias
        if items is None:
            own = None if output is None else output.weight[: self.schema.num_items]
            return ItemVectors(self.item.table() if own is None else own, bias)
        table = self.item if output is None else output
        return ItemVectors(table(items), None if bias is None else bias[items])


def attach(model: nn.Module, events: Columns, users: Columns) -> None:
    """Have a model read columns of events and of users, if it can; another one is as before."""
    if isinstance(model, NeuralSequenceModel) and (events or users):
        model.side = Side(model.item.dim, events, users)
