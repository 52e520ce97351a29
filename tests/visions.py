"""Tiny vision models as folders, and pictures of one colour: built, never fetched."""

from pathlib import Path
from typing import Any

SIDE = 16
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
PIXELS = {"image_size": SIDE, "patch_size": 8}
# As on the hub: the name of a class that has two backends.
PROCESSORS = {
    "clip": "CLIPImageProcessor",
    "siglip": "SiglipImageProcessor",
    "vit": "ViTImageProcessor",
}


def vision(kind: str, folder: Path) -> Path:
    """A random ``clip``, ``siglip``, ``vit`` or ``clip_vision_model`` in ``folder``."""
    import torch
    import transformers

    from lightning_rec.files import write_json

    settings: dict[str, Any] = {**SMALL, **PIXELS}
    if kind in ("clip", "siglip"):
        texts = {**SMALL, "vocab_size": 99, "max_position_embeddings": 8}
        settings = {"vision_config": settings, "text_config": texts}
        settings |= {"projection_dim": 12} if kind == "clip" else {}
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **settings)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    each = {"height": SIDE, "width": SIDE}
    noted = {"size": each, "crop_size": each, "do_resize": True, "do_center_crop": False}
    noted |= {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    noted |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    processor = PROCESSORS[kind.removesuffix("_vision_model")]
    write_json(folder / "preprocessor_config.json", {**noted, "image_processor_type": processor})
    return folder


def picture(path: Path, colour: tuple[int, ...], size: tuple[int, int] = (20, 14)) -> Path:
    """A picture of one colour, RGB or RGBA."""
    from PIL import Image

    Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour).save(path)
    return path
