"""The command line: parse, call, print.

One file for each family of commands, which app.py registers.

What needs torch or scikit-learn is imported by the command that uses it: help comes at once.
"""

from anomirror.cli.app import main

__all__ = ["main"]
