"""The page of `iqp demo` with a small CodeFormer of the real class, wrapped.

    python -m benchmarks.hosts.train --host codeformer --hq FACES -o RUN
    python -m examples.demo_codeformer RUN [ADAPTER]

RUN is what the first command trained. Without an adapter the dial has no effect; fidelity is CodeFormer's own. For a
weight file that its authors published, `iqp demo --model codeformer.pth --adapter ADAPTER` does the same.
"""

import sys
from pathlib import Path

import iqp_adapter as iqp
from benchmarks.hosts.adapt import load_host
from iqp_adapter.demo import page, serve

run, *adapter = sys.argv[1:]
codeformer = load_host("codeformer", Path(run))
serve(page(iqp.wrap(codeformer, adapter=adapter[0] if adapter else None)))
