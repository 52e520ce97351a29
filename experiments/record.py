"""Copy what a table needs out of finished run folders: ``record.py TARGET ROW RUN [RUN …]``.

One JSON per run, named after its row and seed. A TARGET named ``tried`` takes runs that were
stopped, too: they say what did not help.
"""

import json
import sys
from pathlib import Path

from lightning_rec.lab.records import record, sealed


def main() -> None:
    """Record every run named on the command line.

    Raises SystemExit if one is not completed, or was measured on a part of the data alone.
    """
    target, row, *runs = Path(sys.argv[1]), *sys.argv[2:]
    for run in runs:
        found = record(Path(run))
        if found["status"] != "completed" and target.name != "tried":
            raise SystemExit(f"{run} is {found['status']}, not completed")
        if part := found.get("partial"):
            raise SystemExit(f"{run} was measured on a part of the data alone, {part}: no result")
        target.mkdir(parents=True, exist_ok=True)
        path = target / f"{row}_seed{found['seed']}.json"
        target.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(sealed({"row": row, **found}), indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
