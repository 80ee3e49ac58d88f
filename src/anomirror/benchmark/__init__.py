"""Protocols and the runner of measured results."""
