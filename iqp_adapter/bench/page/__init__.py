"""A benchmark's report as one HTML page: the writer, the pictures that it carries, and the files it is made from."""

from .html import write_page

__all__ = ["write_page"]
