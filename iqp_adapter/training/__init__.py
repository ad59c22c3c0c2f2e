"""Training: data, losses, stages, the loop, its log and the runs."""
