"""Untrusted encoded pictures: bounded checks, then one decoder."""
