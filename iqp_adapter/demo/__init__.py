"""A page in the browser: a photo in, its faces restored, and the dial to move. It needs the extra `demo` (gradio).

    serve(page("codeformer.pth", adapter="my-adapter"))

`shelf` says what can be chosen, `visit` is what happens to a photo, `markup` is what is shown of it, and `app` joins
them to gradio's controls. The first three need no gradio.
"""

from __future__ import annotations

from .app import page, serve

__all__ = ["page", "serve"]
