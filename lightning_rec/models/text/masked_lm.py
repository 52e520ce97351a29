"""A language model that says which words are hidden.

Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding,
NAACL 2019, arXiv:1810.04805 (section 3.1, appendix A.1). Shapes: B texts, T tokens, M hidden words,
W words.
"""

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.language.encoder import check_length
from lightning_rec.language.tokens import Tokens
from lightning_rec.language.words import LoadWords
from lightning_rec.needs import LOSS, Need

AS_MASK, AS_ANOTHER = 0.8, 0.1  # of the hidden words while learning; the rest is shown as it is


class MaskedLM(nn.Module):
    """Texts with masked words -> a logit for every word in each of these positions.

    Args:
        load_words: finds the language model with its head.
        encoder: its name: a folder, that of a run, or an id of the hub.
        template: the texts: names of the catalogue's columns in braces.
        max_tokens: longest text.
    """

    kind: ClassVar[str] = "masked_words"
    needs: ClassVar[tuple[Need, ...]] = (LOSS,)
    pretrained: ClassVar[bool] = True
    special: Tensor  # tokens that are no words of a text, such as padding: they are never masked

    def __init__(
        self,
        load_words: LoadWords,
        encoder: str = "all-MiniLM-L6-v2",
        template: str = "{title}",
        max_tokens: PositiveInt = 64,
    ) -> None:
        super().__init__()
        words = load_words(encoder, "masked")
        check_length(words.model, "model.max_tokens", max_tokens)
        self.words, self.tokenizer = words.model, words.tokenizer
        self.name, self.template, self.max_tokens = encoder, template, max_tokens
        self.mask = words.tokenizer.mask_token_id
        special = torch.tensor(tuple(words.tokenizer.all_special_ids), device="cpu")
        self.register_buffer("special", special, persistent=False)

    def forward(self, tokens: Tokens, mask: Tensor) -> Tensor:
        """Tokens, some of them hidden, and bool [B, T], where -> float [M, W]."""
        return self.words(tokens, mask)

    def hidden(self, tokens: Tokens, share: float, numbers: Tensor) -> Tensor:
        """Which words of each text are masked, bool [B, T]: a share of them, at least one if any.

        ``numbers``: float [B, T], random; the lowest decide.
        """
        words = tokens.mask & ~torch.isin(tokens.ids, self.special)
        number = words.sum(dim=1)
        masked = (number * share).round().clamp(min=1).minimum(number)
        rank = numbers.masked_fill(~words, torch.inf).argsort(dim=1).argsort(dim=1)
        return words & (rank < masked[:, None])

    def disguised(self, tokens: Tokens, mask: Tensor) -> Tokens:
        """What is shown while learning: mostly the mask, at times another word, at times the word.

        Draws from torch's global generator.
        """
        chance = torch.rand(mask.shape, device=mask.device)
        others = torch.randint(self.words.num_words, mask.shape, device=mask.device)
        ids = torch.where(mask & (chance < AS_MASK), self.mask, tokens.ids)
        another = mask & (chance >= AS_MASK) & (chance < AS_MASK + AS_ANOTHER)
        return tokens._replace(ids=torch.where(another, others, ids))

    def masked(self, tokens: Tokens, mask: Tensor) -> Tokens:
        """What is shown when it is asked: the mask in each place."""
        return tokens._replace(ids=tokens.ids.masked_fill(mask, self.mask))


class Untuned(MaskedLM):
    """The language model as it came: a baseline that takes no training step."""

    needs = ()
