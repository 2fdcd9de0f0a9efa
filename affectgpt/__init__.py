"""Front door: `from affectgpt import Assistant, Clip`. Importing the package alone imports nothing heavy (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Assistant", "Clip", "__version__"]

if TYPE_CHECKING:
    from affectgpt.clip import Clip
    from affectgpt.inference.assistant import Assistant
else:
    _HOMES = {"Assistant": "affectgpt.inference.assistant", "Clip": "affectgpt.clip"}

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted(globals() | _HOMES)
