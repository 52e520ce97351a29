"""What a loss is given."""

from typing import NamedTuple

from torch import Tensor


class Predictions(NamedTuple):
    """What was asked, and the answers; M queries of B sequences.

    queries: float [M, Q].
    targets: int64 [M] item codes.
    row: int64 [M], the sequence each query belongs to.
    user: int64 [B], whose each sequence is.
    """

    queries: Tensor
    targets: Tensor
    row: Tensor
    user: Tensor
