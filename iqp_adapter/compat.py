"""The one place that makes old dependencies importable beside new ones."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec


def make_importable() -> None:
    """Supplies the modules that basicsr and clip import, and that newer torchvision and setuptools no longer have.

    Where the real module exists nothing is done. Call it just before importing basicsr, gfpgan, facexlib or pyiqa.
    """
    if _is_missing("torchvision.transforms.functional_tensor"):
        from torchvision.transforms.functional import rgb_to_grayscale

        _supply("torchvision.transforms.functional_tensor", rgb_to_grayscale=rgb_to_grayscale)
    if _is_missing("pkg_resources"):
        import packaging.version

        _supply("pkg_resources", packaging=packaging, fixup_namespace_packages=lambda path, parent=None: None)


def _is_missing(name: str) -> bool:
    return name not in sys.modules and find_spec(name) is None


def _supply(name: str, **contents: object) -> None:
    module = module_from_spec(ModuleSpec(name, loader=None))
    vars(module).update(contents)
    sys.modules[name] = module
