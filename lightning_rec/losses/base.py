"""What a loss is given."""

from typing import NamedTuple

from torch import Tensor


class Predictions(NamedTuple):
    """What was asked, and the answers; M queries of B sequences.

    queries: float [M, Q].
    targets: int64 [M] item codes.
    row: int64 [M], the sequence each query belongs to.
    rows: B, the number of sequences.
    seen_row, seen_item: int64 [S]; all pairs (sequence, item its user has in training).
    """

    queries: Tensor
    targets: Tensor
    row: Tensor
    rows: int
    seen_row: Tensor
    seen_item: Tensor
