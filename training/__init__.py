"""Training: the pool of verdicts, stages, the gate, checkpoints and promotion."""
