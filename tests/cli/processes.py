"""Starting the command line in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lightning_rec", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
        check=False,
    )


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())
