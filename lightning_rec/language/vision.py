"""Vectors of pictures by a pretrained vision model of transformers: computed once, and cached.

Shapes: N pictures, B of them at once, E = width of the vectors.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.kept import kept
from lightning_rec.data.pictures import bounded, read_picture
from lightning_rec.errors import UserError, import_extra
from lightning_rec.files import sha256_file, sha256_json
from lightning_rec.language.hub import PREPROCESSOR, fingerprint
from lightning_rec.language.load import read_silently, refuse_elsewhere, refuse_lost
from lightning_rec.screen import Screen
from lightning_rec.threads import cores

log = logging.getLogger(__name__)

BLOCK = 32  # pictures that are read at once
_ARRAY = "vectors.npy"


class VisionEncoder(nn.Module):
    """Pictures -> vectors, of what a vision model itself makes one of a picture by.

    In the space that it shares with texts, if it has one (CLIP, SigLIP); else by its pooler; else
    the state of the first token.

    Args:
        model: of transformers, without a head.
        normalize: make each vector of length 1.
    """

    def __init__(self, model: nn.Module, normalize: bool = True) -> None:
        super().__init__()
        self.model, self.normalize = model, normalize
        self.eval()

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the model's processor makes of B pictures -> float [B, E]."""
        made: Any = getattr(self.model, "get_image_features", self.model)(**inputs)
        pooled = made if isinstance(made, Tensor) else made.pooler_output
        if pooled is None:
            states = made.last_hidden_state
            pooled = states[:, 0] if states.ndim == 3 else states.mean(dim=(2, 3))
        vectors = pooled.flatten(1).float()
        return functional.normalize(vectors, dim=1) if self.normalize else vectors


class Vision(NamedTuple):
    """A pretrained vision model, what makes its inputs, and a hash of what decides its vectors."""

    encoder: VisionEncoder
    processor: Any
    fingerprint: str


def load_vision(folder: Path, normalize: bool = True) -> Vision:
    """Load a vision model without its head, and its processor, from safetensors alone.

    Raises UserError if it cannot be read, lacks weights, or reads no pictures.
    """
    import_extra("PIL", "item=images", "images")
    import_extra("transformers", "item=images", "images")
    refuse_elsewhere(folder)
    log.info("vision model: reading %s", folder)

    def read(transformers: Any, safe: dict[str, Any]) -> tuple[Any, Any, list[str]]:
        if not (folder / PREPROCESSOR).is_file():
            raise FileNotFoundError(f"no {PREPROCESSOR}, which says how it wants its pictures")
        how = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
        model, told = transformers.AutoModel.from_pretrained(folder, **how, **safe)
        # One of its two backends, for the same pixels on every machine.
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **safe)
        return model, processor, sorted(told["missing_keys"])

    model, processor, fresh = read_silently(folder, read, "vision model")
    if not hasattr(model, "get_image_features") and model.main_input_name != "pixel_values":
        raise UserError(
            f"The model in {folder} is a {model.config.model_type}, which reads no pictures: take "
            "one such as SigLIP, CLIP or ViT."
        )
    if any(name.startswith("pooler.") for name in fresh):  # as of models that say classes
        model.pooler = None
    refuse_lost([name for name in fresh if not name.startswith("pooler.")], folder)
    return Vision(VisionEncoder(model, normalize), processor, fingerprint(folder))


def picture_vectors(vision: Vision, files: Sequence[Path], cache: Path) -> Tensor:
    """The vector of each picture, float [N, E], N > 0, kept below ``cache`` by what the files hold.

    Raises UserError, naming the file, if a picture cannot be read.
    """
    facts = [vision.fingerprint, vision.encoder.normalize, [sha256_file(path) for path in files]]
    folder = cache / "pictures" / sha256_json(facts)[:24]

    def make(made: Path) -> None:
        np.save(made / _ARRAY, _read(vision, files).numpy())

    return torch.from_numpy(np.load(kept(folder, make) / _ARRAY, allow_pickle=False))


def _read(vision: Vision, files: Sequence[Path]) -> Tensor:
    def inputs(path: Path) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = vision.processor(
            images=read_picture(path), return_tensors="pt"
        )
        return found

    told, vectors = f"Reading {len(files):,} pictures", []
    starts = track(range(0, len(files), BLOCK), told, **Screen(stderr=True).transient)
    with torch.no_grad(), bounded(), ThreadPoolExecutor(cores()) as threads:
        for start in starts:
            each = list(threads.map(inputs, files[start : start + BLOCK]))
            if len({found["pixel_values"].shape for found in each}) > 1:
                raise UserError(
                    f"{PREPROCESSOR} of the vision model leaves pictures of different sizes: it "
                    "has to crop them, or to resize both sides."
                )
            block = {name: torch.cat([found[name] for found in each]) for name in each[0]}
            vectors.append(vision.encoder(block))
    made = torch.cat(vectors)
    if not made.isfinite().all():
        raise UserError("The vision model makes vectors that are no finite numbers.")
    return made
