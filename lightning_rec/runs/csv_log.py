"""Lightning's CSV logger, going on in the file of a run that is resumed."""

import csv
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from lightning_rec.files import atomic_path


class ResumedCSVLogger(CSVLogger):
    """Writes ``metrics.csv`` in ``save_dir/name/version``.

    A resumed training goes on after optimizer step ``step``: rows of earlier steps stay, later ones
    are written anew. None begins a new file.
    """

    def __init__(self, save_dir: Path, name: str, version: str, step: int | None = None) -> None:
        super().__init__(save_dir, name, version)
        path = Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE
        kept: list[dict[str, str]] = []
        if step is not None and path.is_file():
            with path.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) < step]
        writer = self.experiment  # removes what is there
        if kept:
            writer.metrics_keys = list(kept[0])
            with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
                rows = csv.DictWriter(file, fieldnames=writer.metrics_keys)
                rows.writeheader()
                rows.writerows(kept)
