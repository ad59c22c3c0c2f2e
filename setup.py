"""Chooses the distribution that is built of this code.

    iqp_adapter        by default: what `pip install .` installs, with the full set of packages
    iqp_adapter_core   where the variable IQP_DISTRIBUTION is `core`: with what restoring and wrapping need

`setup.cfg` describes the second, whose extra `full` is the rest of the set. A source archive of it stays what it is.
"""

import os
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

CORE = "iqp_adapter_core"

config = ConfigParser()
config.read("setup.cfg", encoding="utf-8")
archive = Path("PKG-INFO")
made = archive.read_text(encoding="utf-8").replace("-", "_") if archive.exists() else ""

asked = os.environ.get("IQP_DISTRIBUTION", "")
if asked not in ("", "core"):
    raise SystemExit(f"IQP_DISTRIBUTION is {asked!r}; set it to core, or leave it out")

if asked or f"\nName: {CORE}\n" in made:
    setup(name=CORE)
else:
    needs = config["options"]["install_requires"] + config["options.extras_require"]["full"]
    setup(install_requires=needs.split("\n"))
