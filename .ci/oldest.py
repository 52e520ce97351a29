"""The oldest versions that the ranges of pyproject.toml allow, as pins: ``oldest.py [EXTRA …]``.

torch is left out: its oldest would pull gigabytes, and requirements.txt says which one is taken.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def oldest(extras: list[str]) -> list[str]:
    """``name==version`` for every dependency of the core and of some extras."""
    ranges = list(PROJECT["dependencies"])
    for extra in extras:
        ranges += PROJECT["optional-dependencies"][extra]
    found = [re.fullmatch(r"([\w.-]+)>=([\w.]+).*", each) for each in ranges]
    if None in found:
        raise SystemExit(f"a range without a lower bound: {ranges[found.index(None)]}")
    return sorted({f"{each[1]}=={each[2]}" for each in found if each and each[1] != "torch"})


if __name__ == "__main__":
    print("\n".join(oldest(sys.argv[1:])))
