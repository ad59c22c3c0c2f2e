"""The page itself: gradio's controls, and what happens when they are used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial, wraps
from html import escape
from pathlib import Path
from typing import Any

from ..core.quality import BEST
from ..photo import Restored
from ..restorer import Restorer
from ..store.words import is_for_users, line_of
from . import markup
from .shelf import NO_ADAPTER, Loaded, Shelf, on_disk
from .visit import Asked, Seen, Visits, restored

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent

KEPT = 3600
"""Seconds that a visitor's photo stays in memory after the last change."""

VISITORS, WAITING = 32, 64
"""Whose photos are in memory at once, and calls that wait for their turn; more are refused."""

LARGEST_FILE = "64mb"

PICTURES = ["image", ".heic", ".heif", ".avif", ".tif", ".tiff", ".webp"]

SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
MONO = ["ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]

TITLE = "Face restoration with a dial"

HEAD = f"""<header><h1>{TITLE}</h1>
<p>Choose a photo. Its faces are found and restored to the quality that you ask for; the rest of the photo stays as it
is. A restored face is a likeness, no evidence.</p></header>"""

QUALITY = "0.9: better than 90 % of the model's training photos."
IDLE = "No effect: this model has no trained adapter."
FIDELITY = "0: more detail. 1: closer to the photo."
FORCE = "Faces with more detail than the model gives are left alone, since they would lose it."

PRIVACY = """<p class="note">No file of your photo is kept. It stays in the memory of this server for an hour at most,
and no other visitor sees it.</p>"""


def page(
    model: str | Restorer = "tiny",
    adapter: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    device: str | None = None,
) -> Any:
    """The page, as `gradio.Blocks`, for `serve`. Its model is loaded at once; it reaches for no network itself.

    Args:
        model: the one that is chosen at first: what `iqp_adapter.load` takes by name, or a `Restorer`.
        adapter: folder or Hub id of a trained adapter for it.
        folder: where, with its subfolders, further models and adapters are looked for. What ships with the library and
            what `iqp fetch` has brought is offered, too.
        device: where the models run; by default the best there is.

    Raises:
        ModuleNotFoundError: where gradio is not installed.
        ValueError, OSError, ImportError: for a model and an adapter, as `iqp_adapter.load`.
    """
    gradio = _gradio()
    shelf = on_disk(folder, device)
    name = model if isinstance(model, str) else model.name
    shelf = replace(shelf, models={name: model, **{each: of for each, of in shelf.models.items() if each != name}})
    chosen = NO_ADAPTER if adapter is None else str(adapter)
    if adapter is not None:
        shelf.adapters.setdefault(chosen, chosen)
    with gradio.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(60, 60)) as blocks:
        _Page(gradio, shelf, name, chosen).connect(blocks)
    return blocks


def serve(blocks: Any, port: int | None = None, share: bool = False, **launching: Any) -> Any:
    """Serves a page until it is interrupted; nothing of it comes from elsewhere, so that it works without a network.

    Args:
        port: by default the first one from 7860 on that is free.
        share: make a public address, by gradio's servers.
        launching: further arguments of gradio's `launch`.

    Raises:
        OSError: where the port is taken.
    """
    settings: dict[str, Any] = dict(
        theme=_theme(_gradio()),
        css=_file("page.css"),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=LARGEST_FILE,
        state_session_capacity=VISITORS,
    )
    return blocks.queue(max_size=WAITING).launch(server_port=port, share=share, **settings | launching)


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise ModuleNotFoundError(f"the page needs gradio ({error}); pip install iqp_adapter[demo]") from None
    return gradio


def _file(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _theme(gradio: Any) -> Any:
    """Fonts of the visitor's own machine."""
    base = gradio.themes.Base(primary_hue="sky", neutral_hue="stone", radius_size="sm", font=SANS, font_mono=MONO)
    grey, dark = "*neutral_500", "*neutral_400"
    return base.set(
        body_text_color_subdued=grey,
        body_text_color_subdued_dark=dark,
        block_info_text_color=grey,
        block_info_text_color_dark=dark,
        slider_color="*primary_700",
        slider_color_dark="*primary_400",
    )


class _Page:
    """The controls, built within `gradio.Blocks`, and what happens when they are used."""

    def __init__(self, gradio: Any, shelf: Shelf, model: str, adapter: str) -> None:
        self.gradio, self.shelf, self.visits = gradio, shelf, Visits()
        loaded = shelf.take(model, adapter)
        self._html(HEAD)
        with gradio.Row(elem_id="door", equal_height=True):
            self.upload = gradio.File(
                label="Your photo", show_label=False, file_types=PICTURES, height=88, elem_id="upload", scale=4
            )
            self.example = gradio.Button("Show the example", elem_id="example", scale=1, min_width=180)
        with gradio.Row(elem_id="desk"):
            with gradio.Column(scale=2, min_width=320):
                self.line = self._html(markup.line("The example is being restored ..."), elem_id="line")
                self.compare = self._html(elem_id="compare", js_on_load=_file("compare.js"))
            with gradio.Column(scale=1, min_width=300):
                self._build_dial(loaded)
                with gradio.Accordion("Model and options", open=False, elem_id="options"):
                    self._build_options(loaded, model, adapter)
                self.note = self._html(elem_id="note", **_note(loaded))
                self.faces = self._html(elem_id="faces")
        self._html(PRIVACY)
        self.seen = gradio.State(time_to_live=KEPT)

    def _html(self, value: str = "", **settings: Any) -> Any:
        return self.gradio.HTML(value, apply_default_css=False, padding=False, **settings)

    def _build_dial(self, loaded: Loaded) -> None:
        slider, settings = partial(self.gradio.Slider, 0, 1, step=0.05, buttons=[]), _dial(loaded)
        with self.gradio.Group():
            self.quality = slider(value=BEST, label="Quality", elem_id="quality", **settings["quality"])
            self.fidelity = slider(label="Fidelity", info=FIDELITY, elem_id="fidelity", **settings["fidelity"])

    def _build_options(self, loaded: Loaded, model: str, adapter: str) -> None:
        gradio, adapters = self.gradio, [NO_ADAPTER, *self.shelf.adapters]
        self.model = gradio.Dropdown(list(self.shelf.models), value=model, label="Model", elem_id="model")
        self.adapter = gradio.Dropdown(
            adapters,
            value=adapter,
            label="Adapter",
            visible=len(adapters) > 1,
            interactive=loaded.takes_adapter,
            elem_id="adapter",
        )
        self.force = gradio.Checkbox(False, label=markup.SHARP, info=FORCE, elem_id="force")

    def connect(self, blocks: Any) -> None:
        """Says what happens when the controls are used. One photo is restored at a time, whoever asks."""
        settings = [self.model, self.adapter, self.quality, self.fidelity, self.force]
        shown = [self.seen, self.upload, self.compare, self.line, self.faces]
        dial = [self.quality, self.fidelity, self.adapter, self.note]
        for event in (blocks.load, self.example.click):
            self._on(event, self._show_example, settings, shown)
        self._on(self.upload.upload, self._show_photo, [self.upload, *settings], shown)
        for event in (self.quality.input, self.fidelity.input, self.force.input):
            self._on(event, self._show_again, [self.seen, *settings], shown)
        self._on(self.model.input, self._change_model, [self.seen, *settings], [*shown, *dial])
        self._on(self.adapter.input, self._change_adapter, [self.seen, *settings], [*shown, *dial])

    def _on(self, event: Any, answer: Callable[..., Updates], inputs: list[Any], outputs: list[Any]) -> None:
        """Of several events in a row, as of a dial that is dragged, the last one alone is answered."""
        event(
            self._told(answer),
            inputs,
            outputs,
            trigger_mode="always_last",
            concurrency_limit=1,
            concurrency_id="restoring",
            show_progress="minimal",
            show_progress_on=self.line,
            api_visibility="private",
        )

    def _told(self, answer: Callable[..., Updates]) -> Callable[..., Updates]:
        """The same, with what it raises for people as a line of the page, on which all else stays as it is."""

        @wraps(answer)
        def told(*given: Any) -> Updates:
            try:
                return answer(*given)
            except Exception as error:
                if not is_for_users(error):
                    raise
                logger.debug("told to a visitor", exc_info=True)
                return {self.upload: None, self.line: markup.line(line_of(error), is_error=True)}

        return told

    # -- what is answered

    def _show_example(self, *settings: Any) -> Updates:
        return self._show(self.visits.example(), *settings)

    def _show_photo(self, file: str, *settings: Any) -> Updates:
        """A visitor's file is gone as soon as it is read; so is an equal one that another visitor has just sent."""
        path = Path(file)
        if not path.is_file():
            raise ValueError("Your photo did not arrive; please choose it again")
        try:
            seen = self.visits.look(path)
        finally:
            path.unlink()
        return {self.upload: None, **self._show(seen, *settings)}

    def _show_again(self, seen: Seen | None, *settings: Any) -> Updates:
        if seen is None:
            raise ValueError("Your photo is no longer kept; please choose it again")
        return self._show(seen, *settings)

    def _change_model(self, seen: Seen | None, model: str, adapter: str, *asked: Any) -> Updates:
        """An adapter fits one model alone."""
        return self._change_adapter(seen, model, NO_ADAPTER, *asked)

    def _change_adapter(
        self, seen: Seen | None, model: str, adapter: str, quality: float, fidelity: float, force: bool
    ) -> Updates:
        """The dial is that of the model, whose own fidelity it starts from."""
        loaded, update = self.shelf.take(model, adapter), self.gradio.update
        shown = self._show_again(seen, model, adapter, quality, None, force)
        settings = _dial(loaded)
        return shown | {
            self.quality: update(**settings["quality"]),
            self.fidelity: update(**settings["fidelity"]),
            self.adapter: update(value=adapter, interactive=loaded.takes_adapter),
            self.note: update(**_note(loaded)),
        }

    def _show(self, seen: Seen, model: str, adapter: str, *asked: Any) -> Updates:
        loaded = self.shelf.take(model, adapter)
        found: Restored = restored(seen, loaded, Asked(*asked))
        return {
            self.seen: seen,
            self.compare: markup.compare(found),
            self.line: markup.summary(found, seen.left_out),
            self.faces: markup.faces(found, loaded.scorers),
        }


Updates = dict[Any, Any]
"""Controls and what becomes of them; the others stay as they are."""


def _dial(loaded: Loaded) -> Mapping[str, dict[str, Any]]:
    """How the controls of the dial are for a model."""
    network, own = loaded.network, loaded.network.own_fidelity
    return {
        "quality": {"info": QUALITY if network.takes_quality else IDLE, "interactive": network.takes_quality},
        "fidelity": {"value": own or 0.0, "visible": own is not None},
    }


def _note(loaded: Loaded) -> dict[str, Any]:
    """The licence of weights that others made."""
    network = loaded.network
    text = f"Licence of {network.name}: {network.licence}"
    return {"value": f'<p class="note">{escape(text)}</p>', "visible": bool(network.licence)}
