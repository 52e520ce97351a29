"""A language model that says which words are hidden.

Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding,
NAACL 2019, arXiv:1810.04805 (section 3.1, appendix A.1). Shapes: B texts, T tokens, M hidden words,
W words.
"""

import torch
from torch import Tensor, nn

from lightning_rec.language.tokens import Tokens
from lightning_rec.language.words import WordModel

AS_MASK, AS_ANOTHER = 0.8, 0.1  # of the hidden words while learning; the rest is shown as it is


class MaskedLM(nn.Module):
    """Texts with hidden words -> a logit for every word in each of these places.

    Args:
        words: the language model and its head.
        mask: the token that stands where a word is hidden.
        special: tokens that are no words of a text, such as padding: they are never hidden.
    """

    special: Tensor

    def __init__(self, words: WordModel, mask: int, special: tuple[int, ...]) -> None:
        super().__init__()
        self.words, self.mask = words, mask
        self.register_buffer("special", torch.tensor(special), persistent=False)

    def forward(self, tokens: Tokens, at: Tensor) -> Tensor:
        """Tokens, some of them hidden, and bool [B, T], where -> float [M, W]."""
        logits: Tensor = self.words(tokens, at)
        return logits

    def hidden(self, tokens: Tokens, share: float, numbers: Tensor) -> Tensor:
        """Which words of each text are hidden: a share of them, at least one, if there are any.

        Args:
            tokens: of the texts.
            share: of the words.
            numbers: float [B, T], random: the lowest decide.

        Returns:
            bool [B, T]
        """
        words = tokens.there & ~torch.isin(tokens.ids, self.special)
        there = words.sum(dim=1)
        wanted = (there * share).round().clamp(min=1).minimum(there)
        rank = numbers.masked_fill(~words, torch.inf).argsort(dim=1).argsort(dim=1)
        return words & (rank < wanted[:, None])

    def disguised(self, tokens: Tokens, at: Tensor) -> Tokens:
        """What is shown while learning: mostly the mask, at times another word, at times the word.

        Draws from torch's global generator.
        """
        chance = torch.rand(at.shape, device=at.device)
        others = torch.randint(self.words.num_words, at.shape, device=at.device)
        ids = torch.where(at & (chance < AS_MASK), self.mask, tokens.ids)
        another = at & (chance >= AS_MASK) & (chance < AS_MASK + AS_ANOTHER)
        return tokens._replace(ids=torch.where(another, others, ids))

    def masked(self, tokens: Tokens, at: Tensor) -> Tokens:
        """What is shown when it is asked: the mask in each place."""
        return tokens._replace(ids=tokens.ids.masked_fill(at, self.mask))


class Untuned(MaskedLM):
    """The same as it came, before any step: what training is shown beside."""
