"""Which part of a model of clicks an adapter tunes."""

from torch import nn

from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.adapters.whole import Full
from lightning_rec.models.clicks.encoded import WithHistory


def attach(model: nn.Module, adapter: Adapter, *, pretrained: bool) -> AdaptedModule | None:
    """The pretrained part of a click model under an adapter; None if there is none.

    ``pretrained``: whether an encoder of histories is, which else is trained whole.
    """
    part: nn.Module | None = getattr(model, "words", None)
    if isinstance(model, WithHistory):
        part = model.encoder.model
        adapter = adapter if pretrained else Full()
    if part is None:
        return None
    adapted = AdaptedModule(part, adapter)
    if (layers := getattr(part, "layers", None)) is not None and hasattr(part, "drop_from"):
        part.drop_from(adapted.lowest_tuned(layers))  # type: ignore[operator]
    if not any(parameter.is_meta for parameter in part.parameters()):
        adapted.report()
    return adapted
