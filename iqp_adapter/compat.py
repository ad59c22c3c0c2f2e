"""The one place that makes old dependencies importable beside new ones."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType


def make_importable() -> None:
    """Supplies the modules that basicsr and clip import and newer torchvision and setuptools no longer have."""
    if _missing("torchvision.transforms.functional_tensor"):
        from torchvision.transforms.functional import rgb_to_grayscale

        _supply("torchvision.transforms.functional_tensor", rgb_to_grayscale=rgb_to_grayscale)
    if _missing("pkg_resources"):
        import packaging

        _supply("pkg_resources", packaging=packaging)


def _missing(name: str) -> bool:
    return name not in sys.modules and find_spec(name) is None


def _supply(name: str, **contents: object) -> None:
    module = ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module
