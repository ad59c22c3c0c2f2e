"""Metrics as protocols: an id that pins all that a number depends on, what it needs, and how to build it.

An id reads `metric/variant@preprocessing`: `niqe/basicsr@512` is NIQE with the parameters of basicsr on pictures that
were enlarged to 512 px, `deg/arcface-r18@vqfr` is the angle to the original as VQFR's evaluation code computes it.
Numbers of different ids are never comparable, whatever their names have in common.

Every family of protocols has a file here, which ends with its entries. A new protocol is one entry in the file of its
family; a new family is one file, and its name in `catalogue.FAMILIES`. An entry is a `Protocol` (`base`), whose
`load(device, files)` returns a `Measure`; `colour` is the shortest example. To judge pictures by hand:
`p = find("niqe"); p.load(device, p.files()).values(pictures, originals, names)`.
"""

from .base import Download, Kind, Measure, Moments, Protocol, Remembered, SetMeasure
from .catalogue import PROTOCOLS, find

__all__ = ["PROTOCOLS", "Download", "Kind", "Measure", "Moments", "Protocol", "Remembered", "SetMeasure", "find"]
