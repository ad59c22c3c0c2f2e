"""Films: the faces of each shot are followed, decided about once, and restored without flicker; all else is kept.

    look ── tracks ── decide ──┐
    frames ── cut ── steady ── FaceBatch ── paste ── encode ── parts ── join ── film, with its sound

A film is read three times: for the detector, which sees every few frames, around the frames by which each track is
decided, and to restore it, part by part. Faces are cut out, restored and pasted by what does so in photos.
"""

from __future__ import annotations

from .restore import restore_film

__all__ = ["restore_film"]
