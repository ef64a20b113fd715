"""Conversion to LiteRT in an environment of its own."""
