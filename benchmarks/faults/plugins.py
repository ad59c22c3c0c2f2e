"""Faulty plug-ins: they are named and cost the rest of the library nothing, or what they give is a legal result.

Hosts come by entry points of a package, metrics by pyiqa's registry, degradations by the table of kinds.
"""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image

from benchmarks.faults import plugin_faults
from benchmarks.faults.children import Ended, bound_memory, iqp, run

FURTHER_BYTES = 3 * 2**30
LONGEST = 2000
"""Characters of a line that people still read."""

MODULE = f"{plugin_faults.PACKAGE}_module"
FAULTS = ("traces", "hangs", "unnamed", "wrong", "crashes")


def campaign(number: int, folder: Path, seed: int) -> Iterator[Counter[str]]:
    """Counts, each time more of them are known."""
    from iqp_adapter.scoring.scorer import Scorer

    Scorer.available()  # is slow once, in the parent
    ways, counts = (_host, _metric, _host, _degradation), Counter[str]()
    lq, ours = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), _ours()
    for position in range(number):
        place = folder / "plug-in"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        found = ways[position % len(ways)](Random(f"{seed} {position}"), place, lq, ours)
        if any(found[fault] for fault in FAULTS):
            shutil.copytree(place, folder / f"fault {position}", dirs_exist_ok=True)
        counts += found
        yield counts


def _ours() -> torch.nn.Module:
    """A host that the library knows."""
    from iqp_adapter.compat import make_importable

    make_importable()
    from gfpgan.archs.restoreformer_arch import RestoreFormer

    torch.manual_seed(0)
    return RestoreFormer(ch=32, ch_mult=(1, 2, 2), resolution=64, z_channels=64, embed_dim=64).eval()


# -- the three kinds


def _host(rng: Random, place: Path, lq: torch.Tensor, ours: torch.nn.Module) -> Counter[str]:
    (place / f"{MODULE}.py").write_text(plugin_faults.host(rng))
    information = place / f"{plugin_faults.PACKAGE}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin_faults.PACKAGE}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[iqp_adapter.hosts]\ntheirs = {MODULE}:HOST\n")
    wanted = _by_ours(ours, lq)
    uses = [lambda: _use_host(lq, place), lambda: _check(torch.equal(_by_ours(ours, lq), wanted), "another picture")]
    counts = _tried("host", uses, place, plugin_faults.PACKAGE)
    listed = run(_on_path(place, iqp("fetch", "--list")), place / "list.log")
    lost = listed.status != 0 or "codeformer" not in listed.output
    return counts + Counter(traces=int(listed.traced), hangs=int(listed.status is None), wrong=int(lost))


def _by_ours(ours: torch.nn.Module, lq: torch.Tensor) -> torch.Tensor:
    """What a host of the library makes; it is wrapped by its kind's name, since another may take it for its own."""
    import iqp_adapter

    wrapped = iqp_adapter.wrap(ours, kind="restoreformer")
    try:
        return wrapped.restore(lq)
    finally:
        wrapped.unwrap()


def _use_host(lq: torch.Tensor, place: Path) -> None:
    import iqp_adapter
    from iqp_adapter.hosts.registry import hosts

    if "theirs" not in hosts():
        return  # it was left out, with a warning
    model = iqp_adapter.wrap(sys.modules[MODULE].Theirs().eval(), kind="theirs")
    for given in (model.describe(), model.resolution, model.own_fidelity, model.fingerprint(), model.name):
        _check(given is not NotImplemented, "nothing")
    for quality in (None, 0.5):
        restored = model.restore(lq, quality=quality)
        legal = restored.shape == lq.shape and restored.dtype == lq.dtype
        _check(legal and not (restored.lt(0) | restored.gt(1)).any(), f"a picture {tuple(restored.shape)}")
    if model.decides_codes:
        model.decision(lq)
    with model.traceable():
        pass
    model.save_pretrained(place / "adapter")
    iqp_adapter.wrap(model.unwrap(), kind="theirs", adapter=place / "adapter").restore(lq)
    if hosts()["theirs"].build is not None:
        torch.save(sys.modules[MODULE].Theirs().state_dict(), place / "theirs.pth")
        iqp_adapter.wrap(place / "theirs.pth", kind="theirs")


def _metric(rng: Random, place: Path, lq: torch.Tensor, ours: torch.nn.Module) -> Counter[str]:
    from iqp_adapter.scoring.scorer import Scorer

    code, name = plugin_faults.metric(rng)
    (place / f"{MODULE}.py").write_text(code)
    pictures = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = Scorer("iqp-lite", device="cpu")(pictures)

    def use() -> None:
        scores = Scorer(name, device="cpu")(pictures)
        legal = scores.shape == (2,) and scores.dtype == torch.float32 and bool(scores.isfinite().all())
        _check(legal, f"scores {scores}")

    def unchanged() -> None:
        _check(torch.equal(Scorer("iqp-lite", device="cpu")(pictures), wanted), "another score")
        _check({"niqe", "piqe", "iqp-lite"} <= set(Scorer.available()), "fewer metrics")
        Scorer("piqe", device="cpu")(pictures)

    return _tried("metric", [lambda: __import__(MODULE), use, unchanged], place, f"{name!r:.80}".strip("'\""))


def _degradation(rng: Random, place: Path, lq: torch.Tensor, ours: torch.nn.Module) -> Counter[str]:
    from iqp_adapter.bench.test_sets import degraded
    from iqp_adapter.degradations.kinds import degradation_of
    from iqp_adapter.training.dataset import FaceFolder

    (place / f"{MODULE}.py").write_text(plugin_faults.degradation(rng))
    pictures = place / "faces"
    pictures.mkdir()
    Image.fromarray((lq[0] * 255).byte().permute(1, 2, 0).numpy()).save(pictures / "a.png")

    def train() -> None:
        sample = FaceFolder(pictures, 64, degradation=degradation_of(64, kind="theirs"))[0, 0]["lq"]
        _check(sample.shape == (3, 64, 64) and bool(((sample >= 0) & (sample <= 1)).all()), "no picture")

    def bench() -> None:
        list(degraded(pictures, place / "made", size=64, changes={"kind": "theirs"}))

    return _tried("degradation", [lambda: __import__(MODULE), train, bench], place, "theirs")


# -- tried


def _tried(kind: str, uses: list[Callable[[], object]], place: Path, named: str) -> Counter[str]:
    """Each use for itself, in one child: it works, or ends in one line."""
    ended = run(_on_path(place, lambda: [_used(use) for use in uses]), place / "log")
    refusals = [line for line in ended.output.splitlines() if line.startswith("refused: ")]
    counts = _judged(ended, refusals, named)
    counts[f"{kind}s refused"] += bool(refusals)
    counts[f"{kind}s left out"] += not refusals and "is left out (" in ended.output
    counts[f"{kind}s used"] += not refusals and "is left out (" not in ended.output
    return counts


def _judged(ended: Ended, refusals: list[str], named: str) -> Counter[str]:
    unnamed = any(named.lower() not in line.lower() or len(line) > LONGEST for line in refusals)
    return Counter(
        files=1,
        traces=int(ended.traced or "\x1b" in ended.output),
        hangs=int(ended.status is None),
        crashes=int((ended.status or 0) < 0),
        wrong=int("wrong: " in ended.output),
        unnamed=int(unnamed or "refused with lines" in ended.output),
    )


def _on_path(place: Path, work: Callable[[], object]) -> Callable[[], object]:
    def with_plugin() -> None:
        from iqp_adapter.hosts.registry import hosts

        logging.basicConfig(format="%(message)s")
        warnings.simplefilter("ignore")
        bound_memory(FURTHER_BYTES)
        sys.path.insert(0, str(place))
        hosts.cache_clear()
        work()

    return with_plugin


def _used(use: Callable[[], Any]) -> None:
    from iqp_adapter.store.words import USER_ERRORS

    try:
        use()
    except WrongError as wrong:
        print(f"wrong: {wrong}")
    except USER_ERRORS as error:
        line = str(error).strip()
        print(f"refused: {line}" if "\n" not in line else f"refused with lines: {line}")


class WrongError(Exception):
    """A result that is none."""


def _check(right: object, what: str) -> None:
    if not right:
        raise WrongError(what)
