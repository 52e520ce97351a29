"""For `make docs`: docstrings name functions and classes by Sphinx's roles, unknown to Markdown.

``:func:`~lightning_rec.lab.compare` `` is shown as ``compare``, ``:class:`Schema` `` as ``Schema``.
"""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:py:)?(?:func|class|meth|attr|mod|data|exc|obj|const):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Roles as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring, before it is parsed."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(self._code, obj.docstring.value)

    @staticmethod
    def _code(found: re.Match[str]) -> str:
        shortened, name = found.groups()
        return f"`{name.rpartition('.')[2] if shortened else name}`"
