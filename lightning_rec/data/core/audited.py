"""Audited data, whatever its kind: what the record of a run says of it, and the data itself."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Audited(Generic[T]):
    """Data that was prepared, split and audited.

    name: of the data set. data_hash: SHA-256 of all that figures depend on.
    data: the split itself; of what kind depends on the problem.
    counts: what reading, the filters and the split left, by name.
    facts: what the audit counted. validates: whether there is a validation part.
    """

    name: str
    data_hash: str
    data: T
    counts: dict[str, int]
    facts: dict[str, Any]
    validates: bool
