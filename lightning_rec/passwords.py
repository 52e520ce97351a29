"""Passwords in addresses, such as a tracker's: kept out of all that is written or printed.

What a command is told is hidden before anything else reads it, ``http://me:***@host``; the address
itself stays in the environment of the process and of those that it starts.
"""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

from lightning_rec.errors import UserError

KEPT = "LIGHTNING_REC_PASSWORDS"  # a variable of the environment: addresses, by how they are shown
HIDDEN = "***"
_ADDRESS = re.compile(r"([A-Za-z][\w+.-]*://)([^\s/?#:@]*):([^\s/?#]+)@([^\s/?#,;'\"\]})]*)")


def without_passwords(text: str) -> str:
    """The text with ``***`` for the password of each address."""
    return _ADDRESS.sub(rf"\1\2:{HIDDEN}@\4", text) if "@" in text else text


def hidden(value: Any) -> Any:
    """A tree of mappings and lists, its texts :func:`without_passwords`."""
    if isinstance(value, dict):
        return {key: hidden(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(each) for each in value]
    return without_passwords(value) if isinstance(value, str) else value


def take_passwords(arguments: Sequence[str]) -> list[str]:
    """Arguments without passwords, which :func:`whole` finds again in this and later processes."""
    found = {}
    for argument in arguments:
        for address in _ADDRESS.finditer(argument):
            if address[3] != HIDDEN:
                found[without_passwords(address[0])] = address[0]
    if found:
        os.environ[KEPT] = json.dumps(_kept() | found)
    return [without_passwords(argument) for argument in arguments]


def whole(address: str, key: str, variable: str) -> str:
    """An address with its password, that was said in this session or is in the environment.

    ``key``: of the config, that has it. ``variable``: of the environment, that may have it. Raises
    UserError, with what to say, if nothing has.
    """
    if f":{HIDDEN}@" not in address:
        return address
    said = os.environ.get(variable, "")
    if without_passwords(said) == address:
        return said
    found = _ADDRESS.search(address)
    if found is None or (known := _kept().get(found[0])) is None:
        raise UserError(
            f"{key}={address}: no password is kept with a run. Say it again, {key}=…, or set the "
            f"variable {variable} to the whole address."
        )
    return address.replace(found[0], known)


def _kept() -> dict[str, str]:
    try:
        said = json.loads(os.environ.get(KEPT, "{}"))
    except ValueError:
        return {}
    return {str(key): str(each) for key, each in said.items()} if isinstance(said, dict) else {}
