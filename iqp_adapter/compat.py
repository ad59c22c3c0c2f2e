"""The one place that makes old dependencies importable beside new ones."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import distributions
from importlib.util import find_spec, module_from_spec
from pathlib import Path


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


def installed_file(package: str, path: str) -> Path | None:
    """A file of an installed package, also where another package of that name comes first in `sys.path`.

    The official CodeFormer is such a case: its checkout has a `basicsr` of its own. Nothing is imported.

    Args:
        package: name of the distribution and of its module.
        path: of the file, from where the package is installed.
    """
    places = [Path(str(found.locate_file(path))) for found in distributions(name=package)]
    if file := next((place for place in places if place.is_file()), None):
        return file
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((file for folder in folders if (file := Path(folder).parent / path).is_file()), None)


def _is_missing(name: str) -> bool:
    return name not in sys.modules and find_spec(name) is None


def _supply(name: str, **contents: object) -> None:
    module = module_from_spec(ModuleSpec(name, loader=None))
    vars(module).update(contents)
    sys.modules[name] = module
