"""Scores of pictures: this project's metrics, those of pyiqa, and distances between pictures."""
