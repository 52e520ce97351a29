"""Texts that a tuned language model reads: what a step keeps, and how many of them it reads."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.load import load_language
from lightning_rec.language.tokens import Tokenized, tokenize
from lightning_rec.models.items import text
from lightning_rec.models.items.text import Latest, ReadTexts

TEXTS = [" ".join(["red", "lamp", "old", "wood"][: 1 + n % 4]) + f" {n % 7}" for n in range(30)]
Read = tuple[TextEncoder, Tokenized]


@pytest.fixture
def read(tiny_bert: Path) -> Read:
    language = load_language(tiny_bert)
    language.encoder.drop_from(0)  # layers drop out, as in tuning
    for module in language.encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    return language.encoder, tokenize(TEXTS, language.tokenizer, 8)


def gradients(encoder: TextEncoder, source: ReadTexts) -> tuple[Tensor, list[Tensor], int]:
    """Vectors, gradients, and how often a layer was computed."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    hook = encoder.layers[0].register_forward_hook(count)
    encoder.zero_grad()
    torch.manual_seed(3)
    made = source(torch.arange(30))
    (made * torch.arange(made.numel()).view_as(made).sin()).sum().backward()
    hook.remove()
    found = [each.grad.clone() for each in encoder.parameters() if each.grad is not None]
    return made.detach(), found, calls


def test_what_does_not_fit_is_computed_twice_and_changes_no_bit(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_rec.language.blocks.BLOCK_TOKENS", 40)
    encoder, tokens = read
    whole, wanted, blocks = gradients(encoder, ReadTexts(encoder, tokens, None))
    assert blocks > 3
    half = 4 * text.FLOATS * encoder.width * len(encoder.layers) * int(tokens.lengths.sum()) / 2
    for memory, calls in ((0.0, 2 * blocks), (1e9, blocks), (half, None)):
        made, found, called = gradients(encoder, ReadTexts(encoder, tokens, None, memory))
        assert torch.equal(made, whole)
        assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
        assert called == calls if calls else blocks < called < 2 * blocks


def test_texts_that_a_step_does_not_read_have_the_vectors_made_of_them_last(read: Read) -> None:
    encoder, tokens = read
    encoder.eval()
    before = torch.randn(30, encoder.width)
    source = ReadTexts(encoder, tokens, None, latest=Latest(4, before))
    codes = torch.tensor([1, 2, 5, 8, 13, 21])
    fresh = ReadTexts(encoder, tokens, None)(torch.arange(30)).detach()
    made = source(codes)
    new = [n for n, code in enumerate(codes) if not torch.equal(made[n], before[code])]
    assert len(new) == 4
    torch.testing.assert_close(made[new], fresh[codes[new]])
    sums = made.sum(dim=1)
    for n in range(6):  # what was read learns, the rest does not
        grads = torch.autograd.grad(sums[n], [*encoder.parameters()], retain_graph=True, allow_unused=True)  # fmt: skip
        assert any(g is not None and bool(g.any()) for g in grads) == (n in new)
    kept = before.clone()
    kept[codes[new]] = made[new].detach()
    assert source.kept is not None
    assert torch.equal(source.kept, kept)
    assert "kept" not in source.state_dict()
    few = source(codes[:4])  # all of them can be read
    torch.testing.assert_close(few, fresh[codes[:4]])
    with torch.no_grad():
        torch.testing.assert_close(source(torch.arange(30)), fresh)
    unread = [n for n in range(30) if n not in codes]
    assert torch.equal(source.kept[unread], before[unread])  # an evaluation changes nothing


def test_which_are_read_changes_from_step_to_step(read: Read) -> None:
    encoder, tokens = read
    source = ReadTexts(encoder, tokens, None, latest=Latest(3, torch.zeros(30, encoder.width)))
    torch.manual_seed(0)
    for _ in range(60):
        source(torch.arange(30))
    assert source.kept is not None
    assert source.kept.any(dim=1).all()
