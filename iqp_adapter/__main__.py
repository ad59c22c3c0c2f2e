"""`python -m iqp_adapter` is the command `iqp`."""

from .cli import app

app(prog_name="iqp")
