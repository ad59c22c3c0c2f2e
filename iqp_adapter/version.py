"""The version of the library, alone in its file so that everything else may read it."""

__version__ = "0.1.0"
