"""How small an adapter is: its parameters beside those of its host, and its folder on disk.

python -m benchmarks.wrap.size
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import typer
from torch import nn

from benchmarks.common.results import RESULTS, OutOption, provenance, write_json
from benchmarks.wrap.full_size import ALL, HostOption, build, wrapped
from iqp_adapter import WrappedHost

TARGET = 0.05


def parameters(module: nn.Module) -> int:
    return sum(x.numel() for x in module.parameters())


def saved_bytes(model: WrappedHost, dtype: torch.dtype) -> int:
    """Of the folder that `save_pretrained` writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, dtype=dtype)
        return sum(file.stat().st_size for file in Path(folder).iterdir())


def measure(name: str) -> dict[str, Any]:
    model = wrapped(build(name))
    own, hosts = parameters(model), parameters(model.bare)
    return {
        "sites": len(model.sites),
        "adapter_parameters": own,
        "host_parameters": hosts,
        "share": own / hosts,
        "target": TARGET,
        "fp32_bytes": saved_bytes(model, torch.float32),
        "fp16_bytes": saved_bytes(model, torch.float16),
    }


def main(host: HostOption = ALL, out: OutOption = RESULTS / "wrap") -> None:
    """Counts, prints and writes."""
    results = {name: measure(name) for name in host}
    for name, facts in results.items():
        megabytes = " and ".join(f"{facts[key] / 1e6:.2f} MB ({key[:4]})" for key in ("fp32_bytes", "fp16_bytes"))
        typer.echo(f"{name}: {facts['share']:.2%} of its parameters, target {TARGET:.0%}; on disk {megabytes}")
    write_json(out / "size.json", {"hosts": results} | provenance(0))


if __name__ == "__main__":
    typer.run(main)
