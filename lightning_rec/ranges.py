"""Ranges of settings that many constructors ask for."""

from typing import Annotated

from pydantic import Field, PositiveInt

BelowOne = Annotated[float, Field(ge=0, lt=1)]  # a share that leaves something, as dropout
UpToOne = Annotated[float, Field(ge=0, le=1)]
Layers = Annotated[int, Field(gt=0, le=1000)]  # or other parts that are built one after another
Widths = tuple[PositiveInt, ...]  # of the layers of a network
Workers = Annotated[int, Field(ge=0, le=256)]  # processes beside the training: each takes memory
