"""What makes pictures worse, by a seed: inputs to restore, and targets of different quality."""
