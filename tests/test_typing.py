"""What type checkers say of the public names, to those who use them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

USE = """
import torch
from torch import nn
import iqp_adapter as iqp

x = torch.rand(1, 3, 256, 256)
model = iqp.wrap(nn.Identity(), sites=[], scales=[])
reveal_type(model)  # WrappedHost
reveal_type(model(x))  # Returned
reveal_type(model.restore(x))  # Tensor
reveal_type(iqp.WrappedHost.from_pretrained("me/adapter", model.unwrap()))  # WrappedHost
reveal_type(iqp.IQPFR.from_pretrained())  # IQPFR
reveal_type(iqp.IQPFR.from_pretrained()(x))  # tuple[Tensor, tuple[Tensor, ...]]
reveal_type(iqp.IQPIR()(x))  # tuple[Tensor, ...]
reveal_type(iqp.load("tiny", revision="v2"))  # Restorer
reveal_type(iqp.load("tiny").restore(x))  # Tensor

first, second = model(x)
model(x)[0], model(x)["image"]
iqp.wrap(nn.Identity(), revision="v2", token=True, cache_dir="here", local_files_only=True, token_dim=3)
iqp.wrap(nn.Identity(), revison="v2")  # error: Unexpected keyword argument "revison" for "wrap"
iqp.IQPFR.from_pretrained("tiny", force_download="yes")  # error: Argument "force_download"
iqp.IQPFR.from_pretrained().push_to_hub("me/it", licence="mit", commit_message="Now")
iqp.IQPFR.from_pretrained().save_pretrained("here", license="mit")  # error: Unexpected keyword argument "license"
"""


@pytest.mark.slow
def test_a_type_checker_knows_what_comes_back_and_what_can_be_asked_for(tmp_path, root):
    (tmp_path / "use.py").write_text(USE)
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--cache-dir", str(root / ".mypy_cache")]
    own = {**os.environ, "MYPYPATH": str(root)}
    done = subprocess.run([*command, "use.py"], cwd=tmp_path, env=own, capture_output=True, text=True)
    said = dict(re.findall(r"^use.py:(\d+): (?:error|note(?=: Rev)): (.+)$", done.stdout, re.MULTILINE))
    for number, line in enumerate(USE.splitlines(), 1):
        code, _, wanted = line.partition("  # ")
        found = _plain(said.get(str(number), ""))
        if code.startswith("reveal_type"):
            assert found == f'Revealed type is "{wanted}"', line
        else:
            assert found.startswith(wanted.removeprefix("error: ")) and bool(found) == bool(wanted), (line, found)


def _plain(text: str) -> str:
    """Without the modules of names."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)
