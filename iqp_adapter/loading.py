from __future__ import annotations


def load_host(source): raise NotImplementedError
