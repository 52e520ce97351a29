"""The same as a flow of Prefect: python prefect_flow.py FOLDER serves it each Monday at three.

A turn that was stopped is begun again by Prefect, and goes on where it was.
"""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, task

HERE = Path(__file__).parent


@task(retries=3, retry_delay_seconds=60)
def turn(folder: str, week: str, until: str) -> None:
    """Run week.sh in the shop's folder."""
    subprocess.run([str(HERE / "week.sh"), week, until], cwd=folder, check=True)


@flow(log_prints=True)
def shop_week(folder: str, week: str | None = None, until: str | None = None) -> None:
    """A turn of the week; the week and its end are those of today unless they are said."""
    today = datetime.now(UTC)
    turn(folder, week or f"{today:%G-w%V}", until or f"{today:%Y-%m-%dT00:00:00Z}")


if __name__ == "__main__":
    shop_week.serve(name="weekly", cron="0 3 * * 1", parameters={"folder": sys.argv[1]})
