"""Puts off the imports that most calls never need: 24 MB and 0.8 s of CPU a pod, measured.

The openai package's types are 1,200 modules, half of them for interfaces that speech, chat and transcription do not
touch, and the plugin imports its realtime models whether or not a pool has one. Decoders (FFmpeg, by `av`) are for
speech that comes as MP3 and the like; a profile's comes as samples. A package named here is made at once,
but its `__init__` runs when something first asks it for a name. What it then holds is the same.
"""

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

DEFERRED = frozenset(
    {
        "av",
        "livekit.agents.utils.codecs",
        "livekit.plugins.openai.realtime",
        "livekit.plugins.openai.responses",
        "livekit.plugins.openai.tools",
        "openai.types.beta",
        "openai.types.realtime",
        "openai.types.responses",
    }
)


# Of the names with two underscores, which Python itself looks at without wanting the package, those that a package has.
_WANTED = {"__all__", "__version__"}


class _DeferredLoader(Loader):
    """Makes a module whose code runs at the first look at a name that it does not have yet.

    Once, whichever threads look: those that come while it runs wait for its end.
    """

    def __init__(self, real: Loader) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        lock, runs = threading.RLock(), False

        def load() -> None:
            nonlocal runs
            runs = True
            try:
                self._real.exec_module(module)
            finally:
                runs = False
            if module.__dict__.get("__getattr__") is look:
                del module.__dict__["__getattr__"]

        def look(name: str) -> Any:
            if not name.startswith("__") or name in _WANTED:
                with lock:
                    if not runs:
                        if module.__dict__.get("__getattr__") is look:
                            load()
                        return getattr(module, name)
                    # Its own code, which runs, is told what there is so far.
                    if name in module.__dict__:
                        return module.__dict__[name]
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__dict__["__getattr__"] = look


class _DeferringFinder:
    """Finds the deferred packages as Python would, with the loader above."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in DEFERRED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferredLoader(spec.loader)
        return spec


def install() -> None:
    """Defers the packages above, from now on. Call before livekit.plugins.openai is imported."""
    if _DeferringFinder not in sys.meta_path:
        sys.meta_path.insert(0, _DeferringFinder)


def is_deferred(name: str) -> bool:
    """Tells whether this package has been imported and its code has not run."""
    return "__getattr__" in getattr(sys.modules.get(name), "__dict__", {}) and name in DEFERRED
