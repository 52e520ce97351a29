"""The loss of masked words."""

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.losses.base import Classified, Loss


class WordCrossEntropy(Loss):
    """-log p(word) among all words of the language model (Devlin et al., NAACL 2019)."""

    kind = "masked_words"

    def per_target(self, model: nn.Module, predictions: Classified) -> Tensor:
        """Float [M]."""
        return F.cross_entropy(*predictions, reduction="none")

    def mean(self, model: nn.Module, predictions: Classified) -> Tensor:
        """Mean over the masked words -> scalar; 0 where texts have no words."""
        summed = F.cross_entropy(*predictions, reduction="sum")
        return summed / max(1, len(predictions.target))
