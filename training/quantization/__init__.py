"""Quantisation of a checkpoint: ranges of activations, then distillation from the float network."""
