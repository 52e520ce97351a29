"""What the audit of clicks looks at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.core.audited import Finding
from lightning_rec.data.types import Ints


class Evidence(NamedTuple):
    """A table, its arrays, and the place in ``PARTS`` of each row, int8 [N], -1 for none."""

    table: ClickTable
    fields: Fields
    encoded: Encoded
    part: NDArray[np.int8]

    def labels(self, rows: slice | Ints = slice(None)) -> NDArray[np.float32]:
        """Labels of some rows, [n, G]."""
        label = np.asarray(self.encoded.label[rows])
        return label.reshape(len(label), -1)

    def items_shown(self) -> NDArray[np.int32]:
        """The item of each row, as histories have it: int32 [N], -1 for an unknown one."""
        schema = self.encoded.schema
        place = schema.place(str(schema.item))
        return np.asarray(self.encoded.ids[:, place]) - (schema.fields[place].start + 1)

    def finding(self, name: str, sentence: str) -> Finding:
        """Something about the column ``name``, or the rows, that may make figures worthless."""
        return Finding(name, f"{self.table.info['name']}: {sentence}")
