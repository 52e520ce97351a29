"""Finding a data set's raw files: on this machine, at their official address, or inside a wheel."""

import logging
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from platformdirs import user_cache_dir

from lightning_rec.data.kept import alone, broken, kept
from lightning_rec.data.origins import Origin, Unavailable
from lightning_rec.errors import UserError, listed

DATA_VARIABLE = "LIGHTNING_REC_DATA"
CACHE_VARIABLE = "LIGHTNING_REC_CACHE"

log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Folder for downloads and prepared data: ``LIGHTNING_REC_CACHE``, or the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path(user_cache_dir("lightning_rec"))


@dataclass(frozen=True)
class Layout:
    """One form in which a data set comes: its name, that of the version of the data where there are
    several; the files that must be there, and that are read if they are; and where they can be had.
    """

    name: str
    files: tuple[str, ...]
    extras: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()

    def inside(self, folder: Path) -> list[Path] | None:
        """Paths of the files in ``folder``, those of extras last; None if a file is missing."""
        if not all((folder / name).is_file() for name in self.files):
            return None
        return [folder / name for name in self.files + self.extras if (folder / name).is_file()]


@dataclass(frozen=True, kw_only=True)
class PublicData:
    """Files that everybody can get: what they are, and where they are.

    name: of their folder in the cache.
    title, licence, megabytes, events, users, items: to be shown; ``events`` of a data set alone.
    folders: names of sub-folders in which people keep them.
    layouts: the forms in which they come, the preferred one first.
    """

    name: str
    title: str
    licence: str
    megabytes: float
    folders: tuple[str, ...]
    layouts: tuple[Layout, ...]
    events: int = 0
    users: int = 0
    items: int = 0

    def here(self, variant: str = "") -> list[Path] | None:
        """Raw files already on this machine, or None. ``variant`` empty means any."""
        root = Path(os.environ.get(DATA_VARIABLE, "")).expanduser()
        folders = [*(root / name for name in self.folders), root]
        for folder in folders if os.environ.get(DATA_VARIABLE) else ():
            for layout in self._of(variant):
                if files := layout.inside(folder):
                    return files
        return self._downloaded(variant)

    def files(self, variant: str = "") -> list[Path]:
        """Raw files, fetched if need be. Raises UserError that says what to put where."""
        if files := self.here(variant):
            log.info("%s: reading %s", self.title, files[0])
            return files
        with alone(cache_dir() / "raw" / self.name):
            return self._downloaded(variant) or self._fetch_any(variant)

    def _fetch_any(self, variant: str) -> list[Path]:
        tried = []
        for layout in self._of(variant):
            folder = self._downloads(layout)
            for origin in layout.origins:
                fetch = partial(origin.fetch, layout.files, layout.extras)
                if layout.inside(folder) is None:  # of a version that asked for less
                    shutil.rmtree(folder, ignore_errors=True)
                try:
                    files = layout.inside(kept(folder, fetch))
                except Unavailable as error:
                    log.warning("%s: %s passed over: %s", self.title, origin, error)
                    tried.append(f"{origin} ({error})")
                    continue
                assert files is not None, "an origin brings all files or raises"
                return files
        raise UserError(self._missing(variant, tried))

    def _of(self, variant: str) -> list[Layout]:
        return [layout for layout in self.layouts if variant in ("", layout.name)]

    def _downloads(self, layout: Layout) -> Path:
        # Each layout has a folder of its own, so that each is written whole, by one rename.
        return cache_dir() / "raw" / self.name / layout.name

    def _downloaded(self, variant: str) -> list[Path] | None:
        for layout in self._of(variant):
            folder = self._downloads(layout)
            files = layout.inside(folder)
            if files is None:
                continue
            if broken(folder) is None:
                return files
            log.warning("%s: the download in %s is damaged and not used", self.title, folder)
        return None

    def _missing(self, variant: str, tried: list[str]) -> str:
        choices = " or ".join(
            listed(layout.files) + (f" (and {listed(layout.extras)})" if layout.extras else "")
            for layout in self._of(variant)
        )
        root = os.environ.get(DATA_VARIABLE)
        looked = f"{DATA_VARIABLE}={root}" if root else f"{DATA_VARIABLE} (not set)"
        return (
            f"{self.title} is not on this machine and could not be fetched. "
            f"Tried: {'; '.join([looked, str(cache_dir() / 'raw' / self.name), *tried])}. "
            f"Put {choices} into a folder {self.folders[0]}/ and set {DATA_VARIABLE} to the "
            "folder that holds it."
        )
