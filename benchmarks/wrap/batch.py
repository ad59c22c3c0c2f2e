"""Eight pictures of eight qualities in one call, against eight calls: how well they agree, and what it saves.

python -m benchmarks.wrap.batch --threads 2

Where a host decides codes, an arg-max near a tie may flip one, and the picture with it: code logits are compared, the
share of equal codes, and pictures of forced, equal codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import one_hot

from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.common.timing import in_turn, ratio
from benchmarks.wrap.full_size import ALL, HOSTS, HostOption, build, pictures, wrapped
from iqp_adapter import Site, WrappedHost

CERTAIN = 100.0
"""Logit of a forced code; those of the others are 0."""


def ask(
    model: WrappedHost, arguments: Mapping[str, Any], x: Tensor, quality: Tensor, codes: Tensor | None = None
) -> list[Tensor]:
    """The tensors that the host returns, pictures first, then the code logits where it returns them."""
    with nullcontext() if codes is None or model.codes is None else forced(model.bare, model.codes.logits, codes):
        return [part for part in model(x, **arguments, quality=quality) if isinstance(part, Tensor)]


@contextmanager
def forced(host: nn.Module, logits: Site, codes: Tensor) -> Iterator[None]:
    """Within it the host decides for these codes (B, L)."""

    def put(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        return logits.untokens(one_hot(codes, logits.dim) * CERTAIN, output)

    handle = host.get_submodule(logits.path).register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def one_by_one(call: Callable[..., list[Tensor]], *batches: Tensor) -> list[Tensor]:
    """What single calls return, put together."""
    rows = [call(*(batch[index : index + 1] for batch in batches)) for index in range(len(batches[0]))]
    return [torch.cat(parts) for parts in zip(*rows, strict=True)]


def agreement(call: Callable[..., list[Tensor]], x: Tensor, quality: Tensor) -> dict[str, float]:
    """Greatest differences between one call and single calls; pictures are in [-1, 1]."""
    together, single = call(x, quality), one_by_one(call, x, quality)
    pictures = {"pictures": difference(together[0], single[0])}
    if len(single) == 1:
        return pictures
    codes = single[1].argmax(-1)  # (B, L, K) -> (B, L)
    return pictures | {
        "pictures_of_forced_codes": difference(call(x, quality, codes)[0], one_by_one(call, x, quality, codes)[0]),
        "code_logits": difference(together[1], single[1]),
        "greatest_code_logit": float(single[1].abs().max()),
        "share_of_equal_codes": float((together[1].argmax(-1) == codes).float().mean()),
    }


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


@torch.no_grad()
def measure(name: str, size: int, rounds: int) -> dict[str, Any]:
    """Agreement, and how many times as many pictures a second one call restores."""
    call = partial(ask, wrapped(build(name)), HOSTS[name].arguments)
    x, quality = pictures(size), torch.linspace(0.05, 0.95, size)
    agreed = agreement(call, x, quality)
    times = in_turn(
        {"one call": partial(call, x, quality), "single calls": partial(one_by_one, call, x, quality)}, rounds
    )
    throughput = ratio(times["single calls"], times["one call"])
    return {"greatest_difference": agreed, "throughput": throughput, "seconds": times}


def main(
    host: HostOption = ALL,
    size: Annotated[int, typer.Option(min=2, help="Pictures in the batch.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Of the throughput; at least 15 for numbers that are kept.")] = 15,
    threads: int = 2,
    out: OutOption = RESULTS / "wrap",
) -> None:
    """Measures, prints and writes."""
    torch.set_num_threads(threads)
    results = {name: measure(name, size, rounds) for name in host}
    for name, result in results.items():
        agreed = ", ".join(f"{key} {value:.3g}" for key, value in result["greatest_difference"].items())
        typer.echo(f"{name}: {agreed}; throughput {result['throughput']['ratio']:.2f} of single calls")
    write_json(out / "batch.json", {"size": size, "threads": threads, "hosts": results} | provenance(0))


if __name__ == "__main__":
    typer.run(main)
