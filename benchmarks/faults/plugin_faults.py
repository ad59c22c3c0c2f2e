"""Faulty plug-ins, as source: packages with a host, metrics that are added to pyiqa's, kinds of degradation."""

from __future__ import annotations

from random import Random

PACKAGE = "their_package"

RAISED = (
    "raise RuntimeError('no\\nGPU')", "raise ValueError('bad')", "raise KeyError('x')", "raise AttributeError('x')",
    "return 1 / 0", "import sys; sys.exit('bye')", "raise NotImplementedError", "raise AssertionError",
    "import not_there", "raise StopIteration", "raise OSError(2, 'No such file', 'x')", "return restored_(1)",
    "raise Exception('\\x1b[31m' * 500)", "raise FloatingPointError",
    "def again(): return again()\n    return again()",
)  # fmt: skip
"""Bodies of functions that raise, one way or another."""

STRANGE = (
    "None", "True", "-1", "0", "1.5", "float('nan')", "'x'", "b''", "[]", "[1]", "(1, 2)", "{}", "{1: 2}", "object()",
    "torch.zeros(())", "torch.zeros(1)", "int", "lambda *given: None", "['x'] * 1000", "10**30",
)  # fmt: skip
"""Values of any other type."""

PICTURES = (
    "lq[:, :1]", "lq[:1, :, :5]", "torch.cat([lq, lq])", "lq[0]", "lq[None]", "lq * torch.nan", "lq * 1e9 - 5e8",
    "lq.numpy()", "(lq, lq)", "[lq]", "(lq * 255).byte()", "lq.to(torch.complex64)", "lq[..., :-1]",
    "lq.permute(0, 2, 3, 1)", "lq.double()", "lq.half()", "lq.transpose(2, 3)", "{'restored': lq}",
    "torch.zeros(0, 3, 8, 8)", "lq.to('meta')", "lq / 0", "lq.to_sparse()",
)  # fmt: skip
"""What a restorer may give in the place of pictures."""

SCORES = (
    "x.mean((1, 2, 3))", "x.mean()", "x.mean((2, 3))", "x.mean((1, 2, 3)) * torch.nan", "x.mean((1, 2, 3)).tolist()",
    "(x.mean((1, 2, 3)), 1)", "x.mean((1, 2, 3)).long()", "x.mean((1, 2, 3)).to(torch.complex64)", "x", "x[:0]",
    "x.mean((1, 2, 3)).numpy()", "x.mean((1, 2, 3))[:1]", "x.mean((1, 2, 3)) / 0", "{'score': x.mean()}",
    "x.mean((1, 2, 3)).half()",
)  # fmt: skip

ARRAYS = (
    "hq * np.nan", "hq * 300", "hq - 5", "hq[:4]", "hq.transpose(2, 0, 1)", "hq.astype(np.float64)",
    "(hq * 255).astype(np.uint8)", "hq.mean(2)", "hq.tolist()", "hq[..., :1]", "hq[None]", "np.zeros(0, np.float32)",
    "hq / 0", "hq.astype(object)",
)  # fmt: skip

HOST = """
import torch
from torch import nn
from iqp_adapter import HostSpec, Site
from iqp_adapter.hosts.spec import CodeAccess
from iqp_adapter.store.fetch import WeightFile
{before}
class Theirs(nn.Module):
    def __init__(self):
        super().__init__()
        self.their_layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.their_layer(x)

def sites(host):
    return [Site("their_layer", 3, "BCHW")]

def resolution(host):
    return None

def restore(host, lq):
    return (lq + host(lq)).clamp(0, 1)
{functions}
given = dict(name="theirs", source="s", licence="MIT", has=("their_layer.",), sites=sites, restore=restore,
             resolution=resolution)
given.update(dict({changes}))
HOST = HostSpec(**given)
{after}
"""

_SIGNATURES = {"sites": "host", "resolution": "host", "restore": "host, lq", "decide": "host, lq"}
_FUNCTIONS = (
    "sites", "resolution", "restore", "restore", "restore", "fidelity", "codes", "decide", "traceable", "dial",
    "swallowed", "build",
)  # fmt: skip
_FIELDS = (
    "name", "source", "licence", "has", "parts", "lacks", "any_of", "multiple", "prefix", "surplus", "any_layout",
    "weights", "classes", "sites", "restore", "resolution", "fidelity", "codes", "decide", "traceable", "dial",
    "swallowed", "build",
)  # fmt: skip
_LIKE_OURS = (
    "name='codeformer'", "name='iqpfr'", "has=('position_emb',)", "has=('encoder.',)", "has=('',)", "lacks=('',)",
    "weights={'codeformer': WeightFile('https://x/y.pth', 'MIT')}",
    "weights={'theirs': WeightFile('https://x/..', 'MIT')}", "parts=['their_layer.']", "name='a\\nb'", "name='../x'",
    "multiple=0", "multiple=7", "prefix='their_'",
)  # fmt: skip


def host(rng: Random) -> str:
    """A module with a host that has one fault."""
    parts = {"before": "", "functions": "", "changes": "", "after": ""}
    way = rng.choice(("function", "function", "function", "field", "like ours", "import", "object", "signature"))
    if way == "function":
        name = rng.choice(_FUNCTIONS)
        values = (*PICTURES, *STRANGE) if name == "restore" else STRANGE
        body = rng.choice((rng.choice(RAISED), f"return {rng.choice(values)}", f"return {rng.choice(values)}"))
        parts["functions"] = f"\ndef {name}({_SIGNATURES.get(name, 'host')}):\n    {body}\n"
        parts["changes"] = f"{name}={name}"
    elif way == "signature":
        name, given = rng.choice(_FUNCTIONS), rng.choice(("", "host, lq, more", "*, host", "self", "**named", "*given"))
        parts["functions"] = f"\ndef {name}({given}):\n    return None\n"
        parts["changes"] = f"{name}={name}"
    elif way == "field":
        parts["changes"] = f"{rng.choice(_FIELDS)}={rng.choice(STRANGE)}"
    elif way == "like ours":
        parts["changes"] = rng.choice(_LIKE_OURS)
    elif way == "import":
        parts["before"] = rng.choice(
            ("def", "import not_there", "raise RuntimeError('x\\ny')", "import sys; sys.exit()", "1 / 0")
        )
    else:
        parts["after"] = f"HOST = {rng.choice((*STRANGE, 'HostSpec', 'nothing', 'Theirs()', 'given'))}"
    return HOST.format(**parts)


METRIC = """
import torch
from torch import nn
from pyiqa.default_model_configs import DEFAULT_CONFIGS
from pyiqa.utils.registry import ARCH_REGISTRY

class TheirMetric(nn.Module):
    def __init__(self, **options):
        super().__init__()
        {made}

    def forward(self, x):
        {body}

ARCH_REGISTRY.register(TheirMetric, name="TheirMetric", override=True)
DEFAULT_CONFIGS[{name!r}] = {entry}
"""
_ENTRY = {"metric_opts": {"type": "TheirMetric"}, "metric_mode": "NR", "lower_better": False, "score_range": "0, 1"}


def metric(rng: Random) -> tuple[str, str]:
    """A module that adds a metric to pyiqa's, and the metric's name."""
    entry, name, made = str(_ENTRY), "their-metric", "pass"
    body = f"return {rng.choice((*SCORES, *SCORES, *STRANGE))}"
    way = rng.choice(("answer", "answer", "raises", "entry", "name", "made"))
    if way == "raises":
        body = rng.choice(RAISED).replace("\n    ", "\n        ")
    elif way == "made":
        made = rng.choice(RAISED).replace("\n    ", "\n        ")
    elif way == "name":
        name = rng.choice(("iqp-lite", "iqp-lite@2", "iqp-colour", "Mean(x)", "mean(niqe", "a\nb", "", "x" * 300))
    elif way == "entry":
        missing = rng.choice(list(_ENTRY))
        without = {key: value for key, value in _ENTRY.items() if key != missing}
        opts = ({"metric_opts": {"type": "Nobody"}}, {"metric_opts": 1})
        changes = ({"metric_mode": 3}, {"lower_better": None}, *opts)
        entry = str(rng.choice((without, without, {}, None, [], *(_ENTRY | change for change in changes))))
    return METRIC.format(made=made, body=body, name=name, entry=entry), name


DEGRADATION = """
from dataclasses import dataclass
import numpy as np
import torch
from iqp_adapter.degradations.kinds import DEGRADATIONS

@dataclass(frozen=True)
class Theirs:
    strength: float = 0.5

    @classmethod
    def for_resolution(cls, {signature}):
        {made}

    def __call__(self, hq, seed):
        {body}

DEGRADATIONS["theirs"] = {kind}
"""


def degradation(rng: Random) -> str:
    """A module that adds a kind of degradation."""
    signature, made, kind = "px, **changes", "return cls(**changes)", "Theirs"
    body = f"return {rng.choice((*ARRAYS, *ARRAYS, *STRANGE, 'hq * np.float32(0.5)'))}"
    way = rng.choice(("answer", "answer", "raises", "made", "signature", "kind"))
    if way == "raises":
        body = rng.choice(RAISED).replace("\n    ", "\n        ")
    elif way == "made":
        made = rng.choice((rng.choice(RAISED).replace("\n    ", "\n        "), f"return {rng.choice(STRANGE)}"))
    elif way == "signature":
        signature = rng.choice(("", "*, px", "px, more", "**changes"))
    elif way == "kind":
        kind = rng.choice((*STRANGE, "Theirs()"))
    return DEGRADATION.format(signature=signature, made=made, body=body, kind=kind)
