"""Seeded degradations of pictures: inputs to restore, and targets of different quality."""
