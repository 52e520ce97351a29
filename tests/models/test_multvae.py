"""Mult-VAE and Mult-DAE against the authors' graph, with the same weights and the same draws."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.multinomial import Multinomial
from lightning_rec.models.blocks import encode
from lightning_rec.models.classic.multvae import MultVAE
from lightning_rec.objectives.reconstruction import Reconstruction

ITEMS, DIM, STEPS, KEEP = 30, 4, 8, 0.5
SCHEMA = Schema(ITEMS, 50, 9)
PAD = SCHEMA.padding
NOTHING = torch.zeros(0), torch.zeros(0)
SETS = [[2, 7, 11, 29], [0, 7], [5], [3, 4, 19, 20, 21]]
# The same sets, with repeats, in another order, the longest first.
ITEMS_BL = torch.tensor(
    [[21, 3, 4, 3, 19, 20], [29, 2, 7, 11, 2, PAD], [7, 0, 7, PAD, PAD, PAD], [5, *[PAD] * 5]]
)
ORDER = [3, 0, 1, 2]  # which set each history is
HISTORIES = Histories(ITEMS_BL, torch.arange(4))

Kind = tuple[tuple[int, ...], bool]
KINDS: list[Kind] = [((6,), True), ((8, 6), True), ((), True), ((6,), False), ((), False)]


def made(
    hidden: tuple[int, ...] = (6,), variational: bool = True, dropout: float = KEEP
) -> MultVAE:
    torch.manual_seed(0)
    model = MultVAE(SCHEMA, DIM, hidden, dropout, 0.7, STEPS, variational)
    for weight in model.parameters():  # far from where they start, lest a bias be forgotten
        nn.init.normal_(weight, std=0.5)
    return model


def binary() -> Tensor:
    """The authors' input: float64 [4, ITEMS] of 0 and 1."""
    x = torch.zeros(4, ITEMS, dtype=torch.float64)
    for row, which in enumerate(ORDER):
        x[row, SETS[which]] = 1
    return x


def weights_of(model: MultVAE) -> tuple[list[Tensor], list[Tensor]]:
    """All matrices, inputs first, and biases of the layers in order, as the authors have them."""
    layers = [*model.encoder, *model.decoder, model.output]
    matrices = [model.item.weight[:-1], *(layer.weight.T for layer in layers)]
    return matrices, [model.bias, *(layer.bias for layer in layers)]


def graph(
    model: MultVAE, x: Tensor, kept: Tensor | None = None, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Logits [B, V] and KL by ``forward_pass`` of dawenl/vae_cf (MultiDAE, MultiVAE): ``kept``, the
    dropout's mask over keep_prob, and ``noise``, epsilon, are those of training.
    """
    matrices, biases = ([each.double() for each in part] for part in weights_of(model))
    encoder = 1 + len(model.encoder)
    h, divergence = F.normalize(x), torch.zeros((), dtype=torch.float64)
    if kept is not None:
        h = h * kept
    for i, (w, b) in enumerate(zip(matrices, biases, strict=True)):
        h = h @ w + b
        if i == encoder - 1 and model.variational:
            mu_q, logvar_q = h[:, :DIM], h[:, DIM:]
            std_q = torch.exp(0.5 * logvar_q)
            divergence = torch.mean(
                torch.sum(0.5 * (-logvar_q + torch.exp(logvar_q) + mu_q**2 - 1), dim=1)
            )
            h = mu_q if noise is None else mu_q + noise * std_q
        elif i != len(matrices) - 1:
            h = torch.tanh(h)
    return h, divergence


def draws(model: MultVAE) -> tuple[Tensor, Tensor]:
    """What a forward pass after this seed draws: what is kept, [4, ITEMS], and noise, [4, DIM]."""
    torch.manual_seed(5)
    kept = F.dropout(torch.ones(ITEMS_BL.shape), model.dropout.p)
    noise = torch.randn(4, DIM).double()
    dense = torch.zeros(4, ITEMS, dtype=torch.float64)
    for row, items in enumerate(ITEMS_BL.sort(dim=1).values):
        for place, item in enumerate(items.tolist()):
            if item != PAD and item not in items[:place]:
                dense[row, item] = kept[row, place]
    torch.manual_seed(5)
    return dense, noise


def step(model: MultVAE) -> Tensor:
    """The loss of a training step, by the objective and the loss of the paper."""
    inputs = Reconstruction().training_inputs(HISTORIES, SCHEMA)
    queries = model(inputs.histories, inputs.positions)
    predictions = Predictions(queries, inputs.targets, torch.arange(4), torch.arange(4))
    return Multinomial()(model, predictions) + model.penalty(*NOTHING)


@pytest.mark.parametrize(("hidden", "variational"), KINDS)
def test_loss_and_gradients_are_those_of_the_authors_graph(
    hidden: tuple[int, ...], variational: bool
) -> None:
    model = made(hidden, variational).train()
    model.kept += 3
    kept, noise = draws(model)
    loss = step(model)
    found = torch.autograd.grad(loss, list(model.parameters()))

    logits, divergence = graph(model, binary(), kept, noise)
    neg_ll = -torch.mean(torch.sum(torch.log_softmax(logits, dim=1) * binary(), dim=1))
    wanted = neg_ll + min(0.7, 3 / STEPS) * divergence
    torch.testing.assert_close(loss.double(), wanted, atol=1e-5, rtol=1e-6)
    assert (divergence > 0) == variational
    for one, other in zip(
        found, torch.autograd.grad(wanted, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("hidden", "variational"), KINDS)
def test_scores_are_logits_of_the_mean(hidden: tuple[int, ...], variational: bool) -> None:
    model = made(hidden, variational).eval()
    latest = (ITEMS_BL != PAD).sum(dim=1) - 1
    with torch.no_grad():
        found = model.scores(model(HISTORIES, latest))
    torch.testing.assert_close(
        found.double(), graph(model, binary())[0].detach(), atol=1e-5, rtol=1e-5
    )
    assert model.penalty(*NOTHING) == 0


def test_blocks_of_a_step_have_one_divergence() -> None:
    whole, parts = made(dropout=0.0).train(), made(dropout=0.0).train()
    positions = Reconstruction().training_inputs(HISTORIES, SCHEMA).positions
    for model, tokens in ((whole, None), (parts, 6)):
        model.kept += 5
        encode(model, HISTORIES, positions, tokens)
    assert len(parts._divergence) > 1
    torch.testing.assert_close(parts.penalty(*NOTHING), whole.penalty(*NOTHING))


@pytest.mark.parametrize("steps", [STEPS, 0])
def test_the_divergence_weighs_more_with_each_batch_up_to_beta(steps: int) -> None:
    model = made(dropout=0.0).train()
    model.anneal_steps = steps
    weights = []
    for _ in range(9):
        model(HISTORIES, torch.zeros(4, dtype=torch.int64))
        divergence = torch.cat(model._divergence).mean()
        weights.append((torch.as_tensor(model.penalty(*NOTHING)) / divergence).item())
    wanted = [min(0.7, batch / STEPS) if steps else 0.7 for batch in range(9)]
    assert weights == pytest.approx(wanted, rel=1e-5)
    assert model.penalty(*NOTHING) == 0  # of a step that has read nothing
    assert model.kept == 9


def test_it_starts_as_in_the_authors_code() -> None:
    model = MultVAE(Schema(1000, 10, 9), dim=50, hidden=(200,))
    assert model.item.weight[-1].eq(0).all()
    for matrix, bias in zip(*weights_of(model), strict=True):
        edge = (6 / sum(matrix.shape)) ** 0.5  # Glorot's uniform
        assert 0.98 * edge < matrix.abs().max() <= edge
        assert 0.0015 < bias.abs().max() <= 0.002  # cut at two deviations
