"""Which models `sites="auto"` wraps, and where: every architecture of spandrel and its extras, small, random weights.

python -m benchmarks.wrap.auto_sites

Each runs in its own process, so that a crash becomes a row of the table like any other result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from multiprocessing import get_context
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import iqp_adapter as iqp
from benchmarks.common.results import RESULTS, OutOption, provenance, write_json, write_text
from benchmarks.wrap.architectures import ARCHITECTURES, build, example
from iqp_adapter.bench.text import table as markdown

CLAIMS = {
    "bit_exact_at_init": "wrapped and untrained, it answers as the bare host",
    "every_site_is_heard": "each opened gate alone changes the answer",
    "keys_stay": "its state dict has the same keys and values while wrapped",
    "unwrap_bit_exact": "unwrapped, it answers as before and has its own hooks alone",
}
"""The checks of every model. Each call of a wrapped host also checks that every site has run."""


def judge(package: str, name: str) -> dict[str, Any]:
    """Builds, wraps and checks one architecture; an error becomes the reason."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        host = build(package, name)
        facts = {"parameters": sum(x.numel() for x in host.parameters())} | _checked(host, example(package, name))
        failed = [f"does not hold: {CLAIMS[claim]}" for claim, holds in facts["claims"].items() if not holds]
    except Exception as error:
        facts, failed = {}, [str(error).partition("\n")[0] or type(error).__name__]
    return facts | {"works": not failed, "reason": "; ".join(failed), "seconds": time.perf_counter() - started}


@torch.no_grad()
def _checked(host: nn.Module, given: tuple[Tensor, ...]) -> dict[str, Any]:
    """The sites that were found, and which of the claims hold."""
    bare = _answer(host, given)
    state, hooks = {name: value.clone() for name, value in host.state_dict().items()}, _hooks(host)
    model = iqp.wrap(host, sites="auto", example=given)
    model.quality = 0.9
    claims = {
        "bit_exact_at_init": _equal(_answer(model, given), bare),
        "every_site_is_heard": all(not _equal(answer, bare) for answer in _opened(model, given)),
        "keys_stay": _equal(state, host.state_dict()),
    }
    sites = [site.to_dict() for site in model.sites.values()]
    claims["unwrap_bit_exact"] = _equal(_answer(model.unwrap(), given), bare) and _hooks(host) == hooks
    return {"sites": sites, "claims": claims}


def _opened(model: iqp.WrappedHost, given: tuple[Tensor, ...]) -> Iterator[dict[str, Tensor]]:
    """The model's answers with one gate after another open."""
    for block in model.adapters["default"].blocks.values():
        block.gate.fill_(1.0)
        yield _answer(model, given)
        block.gate.zero_()


def _answer(model: nn.Module, given: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Every tensor of a model's answer, by its place in it; with the same random numbers in every call."""
    torch.manual_seed(0)
    return dict(_tensors(model(*(x.clone() for x in given))))


def _tensors(output: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield place, output
    elif isinstance(output, (tuple, list)):
        for index, item in enumerate(output):
            yield from _tensors(item, f"{place}.{index}")


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _hooks(host: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in host.modules())


def judged_apart(package: str, name: str) -> dict[str, Any]:
    """`judge` in its own process; a crash is a reason as well."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(judge, package, name).result()
        except BrokenProcessPool:
            return {"works": False, "reason": "its process crashed"}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """One row an architecture, as Markdown."""
    lines = [["architecture", "works", "sites, layout and channels", "note"]]
    for package, small in ARCHITECTURES.items():
        for name in small:
            result = results[package][name]
            notes = [small[name].cls, small[name].note, result["reason"]]
            lines.append(
                [name, "yes" if result["works"] else "**no**", _places(result), "; ".join(filter(None, notes))]
            )
    works = sum(result["works"] for of in results.values() for result in of.values())
    claims = "".join(f"- {claim}\n" for claim in CLAIMS.values())
    return (
        f'# Models that `sites="auto"` wraps\n\n{works} of {len(lines) - 1} architectures of {_versions_text()}, each '
        f"built small with random weights (seed 0). It works where all of this holds:\n\n{claims}\n{markdown(lines)}\n"
    )


def _places(result: Mapping[str, Any]) -> str:
    """`layers.0`, `layers.1` BLC 16 ..., sites of the same layout and width together."""
    groups: dict[str, list[str]] = {}
    for site in result.get("sites", []):
        groups.setdefault(f"{site['layout']} {site['dim']}", []).append(f"`{site['path']}`")
    return "; ".join(f"{', '.join(paths)} {kind}" for kind, paths in groups.items())


def _versions() -> dict[str, str]:
    return {package: version(package) for package in ARCHITECTURES}


def _versions_text() -> str:
    return " and ".join(f"{package} {number}" for package, number in _versions().items())


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of architectures; prints, writes nothing.")] = None,
    out: OutOption = RESULTS / "wrap",
) -> None:
    """Judges, prints and writes."""
    results: dict[str, dict[str, Any]] = {package: {} for package in ARCHITECTURES}
    for package, small in ARCHITECTURES.items():
        for name in small if only is None else small.keys() & set(only):
            results[package][name] = judged_apart(package, name)
            typer.echo(f"{name}: {results[package][name]}")
    if only is None:
        write_json(out / "auto_sites.json", {"results": results, "versions": _versions()} | provenance(0))
        write_text(out / "auto_sites.md", table(results))


if __name__ == "__main__":
    typer.run(main)
