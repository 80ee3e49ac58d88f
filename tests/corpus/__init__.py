"""Odd files as they lie in users' folders: a script that makes each, and what should come of it."""
