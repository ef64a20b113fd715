"""Benchmarks of bundles on the user's own machine.

Latency and throughput of what an application calls, against torch, vendors' tools and LoadGen.
"""
