"""The shape of the library: who may import whom, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import iqp_adapter

LAYERS = (
    {"version", "compat", "installed", "adapters"},
    {"core", "store"},
    {"pictures", "provenance"},
    {"degradations", "scoring"},
    {"restorer"},
    {"hosts", "native"},
    {"engines"},
    {"loader"},
    {"__init__"},
    {"photo"},
    {"film", "cluster", "gfpganer"},
    {"training", "bench"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
"""A part of the library imports parts of earlier layers and itself, nothing else."""

TORCH_ONLY = {"core/*", "restorer", "store/checkpoint", "hosts/spec", "hosts/hooks", "hosts/codes", "hosts/dial"}
TORCH_ONLY |= {"hosts/saved", "hosts/dialled", "hosts/wrapped", "hosts/auto_sites"}
"""The core that every restorer shares: it knows torch and the layers below, and no restorer."""

HEAVY = {"pyiqa", "basicsr", "gfpgan", "facexlib", "cv2", "transformers", "timm", "huggingface_hub", "skimage"}
HEAVY |= {"matplotlib", "rich", "accelerate", "scipy", "clip", "av", "datasets", "pyarrow", "gradio", "ray"}
"""Never imported by `import iqp_adapter`, nor by any of its public names."""

PACKAGE = Path(iqp_adapter.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(file: Path) -> str:
    """`iqp_adapter/native/model.py` belongs to `native`, `iqp_adapter/quality.py` to `quality`."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Absolute names that a file imports, and whether that happens as soon as the file is imported."""
    package = ("iqp_adapter", *file.relative_to(PACKAGE).parent.parts)
    for node, eager in walk(ast.parse(file.read_text(encoding="utf-8")), True):
        if isinstance(node, ast.Import):
            yield from ((name.name, eager) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from ((home_of(name.name, module), eager) for name in node.names)


def home_of(name: str, module: str) -> str:
    """The module behind `from module import name`: a public name of the package, a module of a package, or `module`."""
    path = PACKAGE.parent.joinpath(*module.split("."), name)
    found = module == "iqp_adapter" or path.is_dir() or path.with_name(f"{name}.py").is_file()
    return f"{module}.{name}" if found else module


def walk(node: ast.AST, eager: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, eager
    for child in ast.iter_child_nodes(node):
        yield from walk(child, eager and not is_later(child))


def is_later(node: ast.AST) -> bool:
    """Function bodies run later, and what is for type checkers alone never runs."""
    return is_for_types(node) or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def layer(part: str) -> int:
    return next(index for index, parts in enumerate(LAYERS) if part in parts)


def imported_parts(file: Path) -> set[str]:
    names = (name.split(".") for name, _ in imports(file))
    parts = {name[1] if len(name) > 1 else "__init__" for name in names if name[0] == "iqp_adapter"}
    known = set().union(*LAYERS)
    return {part if part in known else "__init__" for part in parts}


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(file: Path) -> set[str]:
    """Modules of this library that a file imports, at once or later; packages stand for what they re-export."""
    known = {module_of(each) for each in FILES}
    package = ("iqp_adapter", *file.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in running(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            inside = {f"{module}.{name.name}" for name in node.names} & known
            found |= inside or ({module} & known)
    return found


def running(node: ast.AST) -> Iterator[ast.AST]:
    """All that ever runs: nothing under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield from running(child)


def test_every_part_has_a_layer():
    assert {part_of(file) for file in FILES} <= set().union(*LAYERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file):
    own = part_of(file)
    if own == "__init__":
        pytest.skip("loads its public names lazily, from everywhere below")
    wrong = {part for part in imported_parts(file) - {own} if layer(part) >= layer(own)}
    assert not wrong, f"{own} must not import {wrong}"


@pytest.mark.parametrize("file", sorted(file for part in TORCH_ONLY for file in PACKAGE.glob(f"{part}.py")), ids=str)
def test_the_core_needs_torch_alone(file):
    roots = {name.split(".")[0] for name, _ in imports(file)}
    assert roots - set(sys.stdlib_module_names) <= {"torch", "typing_extensions", "safetensors", "iqp_adapter"}


@pytest.mark.parametrize("part", sorted(TORCH_ONLY))
def test_every_part_of_the_core_is_there(part):
    assert list(PACKAGE.glob(f"{part}.py"))


def test_no_files_import_each_other_in_a_circle():
    needs = {module_of(file): imported_modules(file) for file in FILES}
    while free := {module for module, others in needs.items() if not others & needs.keys() - {module}}:
        needs = {module: others for module, others in needs.items() if module not in free}
    assert not needs, f"in or above a circle: {sorted(needs)}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_heavy_packages_wait_until_they_are_needed(file):
    eager = {name.split(".")[0] for name, at_once in imports(file) if at_once}
    allowed = {"accelerate"} if part_of(file) == "training" else set()
    assert not eager & HEAVY - allowed


def loaded_by(code: str) -> set[str]:
    """Top-level packages in `sys.modules` after some code ran in a process of its own."""
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(run.stdout.split())


def test_importing_the_library_imports_next_to_nothing():
    assert not loaded_by("import iqp_adapter") & (HEAVY | {"torch", "numpy"})


def test_the_public_names_stay_free_of_heavy_packages():
    code = "import iqp_adapter\nfor name in iqp_adapter.__all__: getattr(iqp_adapter, name)"
    loaded = loaded_by(code)
    assert "torch" in loaded
    assert not loaded & HEAVY


def test_help_needs_no_torch():
    code = "import sys; from typer.testing import CliRunner; from iqp_adapter.cli import app\n"
    code += "assert CliRunner().invoke(app, ['train', 'native', '--help']).exit_code == 0"
    assert not loaded_by(code) & (HEAVY - {"rich"} | {"torch", "numpy"})


def test_public_names_are_the_same_for_type_checkers():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {name.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert typed == iqp_adapter._HOME


def test_an_unknown_name_is_said_in_one_line():
    with pytest.raises(AttributeError, match="has no attribute 'IQPRF'; it has .*IQPFR"):
        iqp_adapter.IQPRF  # noqa: B018 - looked up for its error
    assert set(iqp_adapter.__all__) <= set(dir(iqp_adapter))


def test_files_of_the_benchmark_import_each_other_in_one_direction():
    """Imports inside of functions count as well; a circle is an error of the sorter, which names its files."""
    files = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in FILES}
    files = {name.removesuffix(".__init__"): file for name, file in files.items() if ".bench" in name}
    graph = {name: {found for found, _ in imports(file)} & files.keys() for name, file in files.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(files) > 15


def test_results_of_benchmarks_are_numbers_tables_and_pictures(root):
    files = [file for file in (root / "benchmarks" / "results").rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".json", ".md", ".png"}
    assert sum(file.stat().st_size for file in files) < 5_000_000


def test_every_benchmark_has_a_name_of_its_own(root):
    names = [file.name for file in (root / "benchmarks").rglob("*.py")]
    assert len(names) == len(set(names)) > 30
