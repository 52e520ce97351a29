"""Tables of item vectors in a file: as they are, or a byte for each number.

Shapes: V items, Q width of their vectors, a bias among it as the last column.
"""

from pathlib import Path
from typing import Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lightning_rec.errors import UserError
from lightning_rec.files import atomic_path

Precision = Literal["float", "int8"]
LEVELS = 127  # on either side of 0


class ItemTable(nn.Module):
    """Vectors of items, float32 [V, Q], or int8 with a scale for each row.

    A row of bytes is its numbers divided by their largest and rounded to 127 steps on either side
    of 0; the scale is what a step is worth. Biases, the last column, are kept as they are.
    """

    codes: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, codes: Tensor, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    @classmethod
    def of(cls, vectors: Tensor, precision: Precision = "float", biased: bool = False) -> Self:
        """The table of vectors, float [V, Q]; the last column are biases if ``biased``."""
        vectors = vectors.detach().float()
        body, bias = vectors[:, : len(vectors[0]) - biased], vectors[:, len(vectors[0]) - biased :]
        if precision == "float":
            return cls(body.contiguous(), torch.zeros(0), bias.contiguous())
        scale = (body.abs().amax(dim=1) / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        codes = (body / scale[:, None]).round().clamp(-LEVELS, LEVELS).to(torch.int8)
        return cls(codes, scale, bias.contiguous())

    def __len__(self) -> int:
        return len(self.codes)

    def rows(self, items: Tensor | None = None) -> Tensor:
        """Vectors of items, int64 [n], or of all, float32 [n, Q]."""
        codes, scale, bias = self.codes, self.scale, self.bias
        if items is not None:
            codes, bias = codes[items], bias[items]
            scale = scale[items] if len(scale) else scale
        vectors = codes.float() * scale[:, None] if codes.dtype == torch.int8 else codes
        return torch.cat([vectors, bias], dim=1) if bias.shape[1] else vectors

    def save(self, path: Path) -> None:
        """Write the table as safetensors."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(dict(self.state_dict())))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote. Raises UserError if it is something else."""
        try:
            found = load_file(path)
            codes, scale, bias = (found[name] for name in ("codes", "scale", "bias"))
        except (SafetensorError, OSError, KeyError) as error:
            raise UserError(f"{path} is no table of items: {error}.") from error
        rows = len(codes)
        small = codes.dtype == torch.int8 and scale.shape == (rows,)
        if codes.dim() != 2 or len(bias) != rows or not (small or codes.dtype == torch.float32):
            raise UserError(f"{path} is no table of items: its shapes do not fit one another.")
        return cls(codes, scale, bias)
