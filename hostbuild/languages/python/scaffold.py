"""The program around a function: a main.py that serves it with knative's func-python.

func-python calls what is named `new` once and serves the instance: `handle` for each request, `start`,
`stop`, `alive` and `ready` where the instance has them. What is named `handle` it serves itself.
"""

from __future__ import annotations

import posixpath

from hostbuild.languages.python.functions import Function, Invoke, invocation

#: The middleware, as a requirement: the newest release, which is also the one that knative func takes.
FUNC_PYTHON = "func-python==0.8.1"

#: Where a function's source lies in an image.
SOURCE = "/func"

_MODULES: dict[Invoke, str] = {"http": "func_python.http", "cloudevent": "func_python.cloudevent"}

# func-python tells the two apart by the name of what it is given, which need not be the name that the
# function's module has for it. So it gets ours.
_CALLS = {
    "new": "def new():\n    return function()\n",
    "handle": "async def handle(scope, receive, send):\n    await function(scope, receive, send)\n",
}

_MAIN = '''\
"""Serves the function of this image over HTTP. Made by hostbuild."""

import logging
import os
import sys

# Python put the directory of this file first: a module `main` of the function is not this one.
if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    del sys.path[0]
# The function is found behind all that PYTHONPATH names before it.
SOURCE, FOLDER = {source!r}, {folder!r}
if FOLDER not in sys.path:
    sys.path.insert(sys.path.index(SOURCE) + 1 if SOURCE in sys.path else 0, FOLDER)

logging.basicConfig(level=logging.INFO)

from {middleware} import serve
from {module} import {attribute} as function


{call}

if __name__ == "__main__":
    serve({attribute})
'''


def main_source(function: Function, invoke: str, *, source: str = SOURCE) -> bytes:
    """The main.py that serves `function`: the same bytes for the same values.

    `invoke` is func.yaml's word: "" or "http", or "cloudevent". `source` is the absolute path in the image at
    which the function's directory lies. Raises SettingsError for any other word.
    """
    text = _MAIN.format(
        source=source,
        folder=posixpath.join(source, function.folder) if function.folder else source,
        middleware=_MODULES[invocation(invoke)],
        module=function.module,
        attribute=function.attribute,
        call=_CALLS[function.attribute],
    )
    return text.encode()
