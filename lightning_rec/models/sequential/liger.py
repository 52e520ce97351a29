"""LIGER: TIGER that reads texts beside codes, and ranks what it says, and new items, by cosines.

Yang et al., Unifying Generative and Dense Retrieval for Sequential Recommendation, 2024,
arXiv:2411.18814, as in facebookresearch/liger. Shapes: as in :class:`TIGER`; E = width of the
vectors that items are known by, n items.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.semantic.quantise import Quantizer
from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.events import event_vectors
from lightning_rec.models.layers import CachedInEvaluation, Dropout
from lightning_rec.models.sequential.coded import EVENT_VECTORS
from lightning_rec.models.sequential.tiger import TIGER
from lightning_rec.models.t5 import Decoder, Encoder
from lightning_rec.ranges import BelowOne, Layers, Widths

STD = 0.02  # of the weights of T5 at the beginning


class LIGER(CachedInEvaluation, TIGER):
    """T5 whose input is, of each code of an item, the code's vector, a map of the item's vector,
    the item's position and the code's level, added and normalised (section 4.1).

    What the encoder makes of the latest code is compared with the map of an item's vector: the
    score is their cosine over ``temperature``, for a softmax over items (``loss=full_softmax``). To
    it the likelihood of the target's id is added, as a mean over digits. Candidates are the
    ``beam`` ids that beam search finds among those that there are, and all items without training
    events, which it hardly says; ranked by scores (section 4.2). Of queries that have not retrieved
    any candidates yet, and without a beam, all items are scored.

    Items are known by ``item=text`` or other vectors, or by who had them (``item=ids``). The map of
    an item's vector is made once a step: dropout is the same wherever the item stands, where the
    authors' code draws it for each place.

    Args:
        beam: the paper's K, 20 there; None ranks all items. At least the largest cut-off.
        input_dropout: on what the encoder reads.
        map_dropout: within the map of the vectors.
        hidden: widths of that map's layers.
        temperature: by which cosines are divided.
        weight: of the likelihood; the authors have 1.
        depth, heads, width, inner, dropout, quantizer, levels, codes, unique: see :class:`TIGER`.
    """

    likelihood = False
    known: Tensor  # float [V, E]
    trained: Tensor  # int64 scalar: so many items have training events, the first ones

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 128,
        depth: Layers = 6,
        heads: PositiveInt = 6,
        width: PositiveInt = 64,
        inner: PositiveInt = 1024,
        dropout: BelowOne = 0.2,
        input_dropout: BelowOne = 0.5,
        map_dropout: BelowOne = 0.2,
        hidden: Widths = (768, 512, 256),
        temperature: PositiveFloat = 0.07,
        weight: NonNegativeFloat = 1.0,
        beam: PositiveInt | None = 50,
        quantizer: Quantizer = "residual",
        levels: Layers = 3,
        codes: PositiveInt = 256,
        unique: bool = True,
    ) -> None:
        super().__init__(
            schema, dim, depth, heads, width, inner, dropout, beam, quantizer, levels, codes, unique
        )
        self.temperature, self.weight = temperature, weight
        self.hidden, self.map_dropout = hidden, map_dropout
        self.position = nn.Embedding(schema.max_len, dim)
        self.level = nn.Embedding(self.levels, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self.dropout = Dropout(input_dropout)
        self.register_buffer("trained", torch.tensor(schema.num_items))
        # Drawn ones for who fits nothing, as codes are.
        self.register_buffer("known", torch.randn(schema.num_items, EVENT_VECTORS))
        self._make_map()
        for stack in (self.encoder, self.decoder, self.of_code):
            draw(stack)
        self._by_events = False
        self._maps: Tensor | None = None  # maps of all items in this training step

    @property
    def statistics(self) -> tuple[str, ...]:  # type: ignore[override]
        """What an update takes over: codes, and vectors of events, whose basis is their own."""
        return ("codes", "known") if self._by_events else ("codes",)

    def fit(self, split: Split) -> None:
        """Know items by the training events."""
        vectors = event_vectors(split, EVENT_VECTORS)
        self._make(vectors, split.num_trained)
        self._know(vectors, split.num_trained)
        self._by_events = True

    def read_vectors(self, vectors: Tensor, trained: int | None = None) -> None:
        """Know items by vectors, float [V, E], and make codes of them."""
        super().read_vectors(vectors, trained)
        self._know(vectors, trained)

    def read_codes(self, codes: Tensor, sizes: tuple[int, ...]) -> None:
        """Raises UserError: codes say too little."""
        raise UserError(
            "model=liger reads vectors of items beside their codes, and makes the codes of them: "
            "say item=text, images or vectors. model=tiger reads codes alone."
        )

    def begin_step(self, histories: Histories) -> None:
        """Map the vectors of all items; see :meth:`SequenceModel.begin_step`."""
        self._maps = self.project(self.known)

    def train(self, mode: bool = True) -> "LIGER":
        """Forget the latest step."""
        self._maps = None
        return super().train(mode)

    def retrieve(
        self, queries: Tensor, row: Tensor, item: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """Queries with what the beam found; without one as they are. See :class:`BeamedModel`."""
        return queries if self.beam is None else super().retrieve(queries, row, item, allowed)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Cosines over the temperature; not a number for what is no candidate, unless an item is
        asked for by one query alone. See :meth:`SequenceModel.scores`.
        """
        number, states = queries[:, 0].long(), queries[:, 1 : self.query_width]
        latest = states.view(len(queries), -1, self.dim)[torch.arange(len(queries)), number - 1]
        asked = F.normalize(latest, dim=1) / self.temperature
        known = F.normalize(self._mapped(), dim=1)
        if items is not None and items.dim() == 2:
            return torch.linalg.vecdot(asked[:, None], F.embedding(items, known))
        scores = asked @ (known if items is None else known[items]).T
        if queries.shape[1] == self.query_width:
            return scores
        candidates = self._candidates(queries)
        return scores.masked_fill(
            ~(candidates if items is None else candidates[:, items]), torch.nan
        )

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """Minus the mean log-likelihood of the targets' digits, weighted: scalar; see
        :class:`~lightning_rec.models.base.Penalised`.
        """
        if not self.weight:
            return 0.0
        return -self.weight / self.levels * self.of_items(queries, targets[:, None]).mean()

    def _candidates(self, queries: Tensor) -> Tensor:
        """Items that a beam has found, or that training did not have: bool [M, V]."""
        assert self.beam is not None
        leaf = queries[:, self.query_width : self.query_width + self.beam].long()
        number = len(self.trie.items) + 1
        found = torch.zeros(len(queries), number, dtype=torch.bool, device=queries.device)
        found.scatter_(1, leaf % number, value=True)  # -1, for none, is the last column
        new = torch.arange(self.schema.num_items, device=queries.device) >= self.trained
        return found[:, self.trie.leaf] | new

    def _inputs(self, items: Tensor) -> Tensor:
        """What the encoder reads of items, int64 [N, n]: float [N, n m, D]."""
        at = torch.arange(items.shape[1], device=items.device)
        of_items = F.embedding(items, self._mapped()) + self.position(at)
        codes = self.of_code(self.codes[items]) + self.level.weight  # [N, n, m, D]
        inputs: Tensor = self.norm(of_items[:, :, None] + codes)
        return self.dropout(inputs).flatten(1, 2)

    def _mapped(self) -> Tensor:
        """Maps of all items' vectors, float [V, D]."""
        if torch.is_grad_enabled():
            return self.project(self.known) if self._maps is None else self._maps
        return self.cached(lambda: self.project(self.known))

    def _know(self, vectors: Tensor, trained: int | None) -> None:
        self.known = vectors.detach().to(self.known).clone()
        self.trained.fill_(len(vectors) if trained is None else trained)
        self._make_map()

    def _make_map(self) -> None:
        width, dim = self.known.shape[1], self.dim
        made = ResidualMLP(width, self.hidden, dim, self.map_dropout)
        self.project = made.to(self.known.device)
        self._cache = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take vectors of whatever width was saved."""
        saved = state_dict.get(f"{prefix}known")
        if saved is not None and saved.shape[1:] != self.known.shape[1:]:
            self.known = self.known.new_empty(len(self.known), *saved.shape[1:])
            self._make_map()
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ResidualMLP(nn.Module):
    """Layers with LayerNorm, ReLU and dropout, past each of which a linear map leads; then another.

    Float [..., E] -> [..., D], through ``hidden`` widths.
    """

    def __init__(self, width: int, hidden: Sequence[int], dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        widths = [*zip([width, *hidden], hidden, strict=False)]
        self.expand = nn.ModuleList(nn.Linear(*each) for each in widths)
        self.norm = nn.ModuleList(nn.LayerNorm(each, eps=1e-12) for _, each in widths)
        self.past = nn.ModuleList(nn.Linear(*each, bias=False) for each in widths)
        self.output = nn.Linear([width, *hidden][-1], dim)

    def forward(self, x: Tensor) -> Tensor:
        """Float [..., E] -> float [..., D]."""
        x = self.dropout(x)
        for expand, norm, past in zip(self.expand, self.norm, self.past, strict=True):
            x = self.dropout(F.relu(norm(expand(x)))) + past(x)
        made: Tensor = self.output(x)
        return made


@torch.no_grad()
def draw(stack: Encoder | Decoder | nn.Embedding) -> None:
    """Draw the weights of T5, all alike, as the authors do."""
    for each in stack.modules():
        if isinstance(each, nn.Linear | nn.Embedding):
            nn.init.normal_(each.weight, std=STD)
