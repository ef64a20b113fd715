"""Converters from checkpoints to chips: one module per target."""
