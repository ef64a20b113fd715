"""Checks of model files from untrusted bundles, without the engines that run them."""
