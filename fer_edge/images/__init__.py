"""Encoded pictures from strangers: bounded checks, then one decoder."""
