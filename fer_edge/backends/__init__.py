"""Backends: one module per target; see base.py."""
