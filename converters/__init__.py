"""From a checkpoint to a chip: one file per target, named as the target."""
