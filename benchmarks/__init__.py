"""Latency and throughput of what a user would run, measured against what they would use instead."""
