"""The manifest of a bundle: its format, what answers, and the hash of every other file."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from lightning_rec import __version__
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_file, sha256_json, write_json

FORMAT = 1  # raised when an older version could not read what is written
MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
CARD = "card.json"
# What files of data are called: nothing that Python, torch or transformers would run.
DATA = {".json", ".safetensors", ".parquet", ".md", ".txt", ".model", ".tiktoken", ".jinja"}
Kind = Literal["sequences", "clicks", "matching"]


class File(BaseModel, extra="forbid", strict=True):
    """A file as it was written: its size, and its SHA-256 in hexadecimal."""

    bytes: NonNegativeInt
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel, extra="forbid", strict=True):
    """What a bundle is.

    Args:
        format: of the bundle.
        made_with: the version of lightning-rec that wrote it.
        kind: what it answers.
        settings: how its predictor is made of its files; nothing of it is code.
        files: all other files, by their path below the bundle.
        sha256: of all of the above, as canonical JSON.
    """

    format: int = Field(ge=1)
    made_with: str
    kind: Kind
    settings: dict[str, Any]
    files: dict[str, File]
    sha256: str


def write(folder: Path, kind: Kind, settings: dict[str, Any]) -> None:
    """Write the manifest of a folder that holds everything else."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in paths
    }
    made = {"format": FORMAT, "made_with": __version__, "kind": kind, "settings": settings}
    made = json.loads(json.dumps(made | {"files": files}))  # as it will be read
    write_json(folder / MANIFEST, made | {"sha256": sha256_json(made)})


def read(folder: Path) -> Manifest:
    """The manifest, every file of which is as it was written.

    Raises UserError for no bundle, one of a newer version, and files that are missing, changed,
    links, or not of the bundle.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder} is no bundle: it has no {MANIFEST}. lightning-rec export makes one."
        )
    found = read_json(path)
    written = found.get("format") if isinstance(found, dict) else None
    if isinstance(written, int) and written > FORMAT:
        by = str(found.get("made_with"))[:20]
        raise UserError(
            f"{folder} is a bundle of format {written}, made with lightning-rec {by}; this version "
            f"reads formats up to {FORMAT}: pip install -U lightning-rec."
        )
    try:
        manifest = Manifest.model_validate_json(json.dumps(found))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {key}: {first['msg'].lower()}. Export it again.") from None
    if found.pop("sha256") != sha256_json(found):
        raise UserError(
            f"{path} is not as it was written: its own SHA-256 is another. Export the model again."
        )
    _check_files(folder, manifest)
    return manifest


def _check_files(folder: Path, manifest: Manifest) -> None:
    there = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    there.pop(MANIFEST, None)
    faults = {
        "missing": manifest.files.keys() - there.keys(),
        "not of the bundle": there.keys() - manifest.files.keys(),
        "links": {name for name, path in there.items() if path.is_symlink()},
        "no files of data": {name for name in there if Path(name).suffix not in DATA},
    }
    for what, names in faults.items():
        if names:
            raise UserError(f"{folder}: {listed(sorted(names), 3)}: {what}. Export it again.")
    for name, file in manifest.files.items():
        path = there[name]
        if path.stat().st_size != file.bytes or sha256_file(path) != file.sha256:
            raise UserError(
                f"{path} is not as it was written: its SHA-256 is not the one in {MANIFEST}. Bring "
                "back the file, or export the model again."
            )
