"""Everything that is needed to train: degradations, data, losses, stages, the loop and its record."""
