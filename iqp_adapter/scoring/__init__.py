"""Scores of pictures by this project's metrics and those of pyiqa, and distances between pictures."""
