"""Pictures: whose they are, how they are read, what is refused; and what a vision model makes of them."""

import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from visions import picture, vision

from lightning_rec.data.pictures import bounded, files_of, read_picture
from lightning_rec.errors import UserError
from lightning_rec.language.hub import find_model
from lightning_rec.language.vision import load_vision, picture_vectors

pytest.importorskip("PIL")
pytest.importorskip("transformers")
RED, BLUE = (250, 10, 20), (10, 20, 250)


def found(
    folder: Path, items: list[str], column: list[str | None] | None = None, **said: Any
) -> list[str | None]:
    ids = pl.Series("item", items)
    about = ids.to_frame() if column is None else pl.DataFrame({"item": ids, "shown": column})
    name = None if column is None else "shown"
    paths = files_of(folder, ids, about, name, said.get("missing", "zero"))
    return [None if path is None else path.relative_to(folder).as_posix() for path in paths]


def test_a_file_is_called_by_its_items_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.jpg", "b.PNG", "c.d.webp", "7.jpeg", "e.gif", "nobody.jpg"):
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING):
        files = found(tmp_path, ["c.d", "e", "a", "f", "b", "7"])
    assert files == ["c.d.webp", None, "a.jpg", None, "b.PNG", "7.jpeg"]
    assert "no picture of 2 of 6 items, such as e, f: their vector is 0" in caplog.text
    with pytest.raises(UserError, match=r"2 of 6 items.*or say item\.missing=zero"):
        found(tmp_path, ["c.d", "e", "a", "f", "b", "7"], missing="refuse")
    with pytest.raises(UserError, match=r"its files are like 7\.jpeg.*the items like x"):
        found(tmp_path, ["x"])
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"several pictures of a: a\.jpg, a\.png"):
        found(tmp_path, ["a"])
    with pytest.raises(UserError, match="no such folder"):
        found(tmp_path / "gone", ["a"])


def test_a_column_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/1.jpg", "2.png"):
        (tmp_path / name).touch()
    assert found(tmp_path, list("abcd"), ["in/1.jpg", None, " 2.png ", "3.png"]) == [
        "in/1.jpg", None, "2.png", None,
    ]  # fmt: skip
    for name, told in (
        ("https://shop/1.jpg", "holds addresses such as https://shop/1.jpg: nothing is fetched"),
        ("../secret.png", "leads out of item.path"),
        ("/etc/secret.png", "leads out of item.path"),
    ):
        with pytest.raises(UserError, match=told):
            found(tmp_path, list("ab"), ["2.png", name])
    about = pl.DataFrame({"item": ["a"], "shown": [1]})
    for column, told in (("show", "Did you mean 'shown'"), ("shown", "holds Int64, not names")):
        with pytest.raises(UserError, match=told):
            files_of(tmp_path, about["item"], about, column, "zero")


def test_what_is_seen_is_what_a_browser_shows(tmp_path: Path) -> None:
    from PIL import Image

    clear = picture(tmp_path / "clear.png", (10, 20, 250, 0))  # blue, and not to be seen
    assert read_picture(clear).getpixel((3, 3)) == (255, 255, 255)
    lying = Image.new("RGB", (20, 10), RED)
    turned = Image.Exif()
    turned[0x0112] = 6  # a camera that was held upright
    lying.save(tmp_path / "turned.jpg", exif=turned)
    assert read_picture(tmp_path / "turned.jpg").size == (10, 20)
    Image.new("L", (5, 5), 77).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png").getpixel((0, 0)) == (77, 77, 77)


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of few bytes that says it has many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )
    return path


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    from PIL import Image

    whole = picture(tmp_path / "whole.jpg", RED, (200, 200)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.jpg").write_text("no picture")
    Image.new("RGB", (5, 5)).save(tmp_path / "other.gif")
    (tmp_path / "other.gif").rename(tmp_path / "other.jpg")  # of a kind that is not asked for
    bomb(tmp_path / "large.png", 10_000, 10_000)
    bomb(tmp_path / "huge.png", 30_000, 30_000)
    picture(tmp_path / "strip.png", RED, (1, 500))
    for name, told in (
        ("cut.jpg", "truncated"),
        ("words.jpg", "cannot identify"),
        ("other.jpg", "cannot identify"),
        ("large.png", "exceeds limit"),
        ("huge.png", "exceeds limit"),
        ("strip.png", "a strip of 1 x 500 pixels"),
    ):
        with bounded(), pytest.raises(UserError, match=rf"{name} cannot be read: .*{told}"):
            read_picture(tmp_path / name)


@pytest.mark.parametrize("kind", ["clip", "siglip", "vit", "clip_vision_model"])
def test_vectors_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    import transformers

    folder = vision(kind, tmp_path / "model")
    files = [
        picture(tmp_path / f"{i}.png", (9 * i, 250 - 9 * i, 80), (10 + i, 30)) for i in range(40)
    ]
    made = picture_vectors(load_vision(folder, normalize=False), files, tmp_path / "cache")
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = transformers.AutoModel.from_pretrained(folder)
    pixels = processor(images=[read_picture(path) for path in files], return_tensors="pt")
    with torch.no_grad():
        found = getattr(model, "get_image_features", model)(**pixels)
    wanted = getattr(found, "pooler_output", found)
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)
    assert made.std(dim=0).max() > 1e-3
    unit = picture_vectors(load_vision(folder), files, tmp_path / "cache")
    torch.testing.assert_close(unit, torch.nn.functional.normalize(wanted, dim=1))


def test_a_pooler_that_never_was_trained_is_not_used(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = vision("vit", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    file = picture(tmp_path / "a.png", RED)
    first, again = (
        picture_vectors(load_vision(folder), [file], tmp_path / f"cache{i}") for i in range(2)
    )
    assert torch.equal(first, again)
    lost = dict(list(kept.items())[:-1])
    save_file(lost, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 weights"):
        load_vision(folder)


def test_pictures_are_read_once_and_again_when_one_or_the_model_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = load_vision(vision("clip", tmp_path / "model"))
    files = [picture(tmp_path / f"{i}.png", RED) for i in range(3)]
    first = picture_vectors(seen, files, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("lightning_rec.language.vision.read_picture", None)
        assert torch.equal(picture_vectors(seen, files, tmp_path), first)
    picture(files[1], BLUE)
    changed = picture_vectors(seen, files, tmp_path)
    assert torch.equal(changed[[0, 2]], first[[0, 2]])
    assert not torch.allclose(changed[1], first[1])
    noted = tmp_path / "model" / "preprocessor_config.json"
    noted.write_text(noted.read_text().replace("0.5", "0.4"))
    other = picture_vectors(load_vision(tmp_path / "model"), files, tmp_path)
    assert not torch.allclose(other, changed)
    files[0].write_text("no picture")
    with pytest.raises(UserError, match=r"0\.png cannot be read"):
        picture_vectors(seen, files, tmp_path)


def test_what_is_no_vision_model_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    with pytest.raises(UserError, match="no preprocessor_config"):
        load_vision(tiny_bert)
    with pytest.raises(UserError, match=r"is no vision model: it has no config\.json"):
        find_model(str(tmp_path), "vision model")
    with pytest.raises(
        UserError, match=r"The vision model 'no/such' is no folder.*preprocessor_config"
    ):
        find_model("no/such", "vision model")
    folder = vision("clip", tmp_path / "pickled")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_vision(folder)
