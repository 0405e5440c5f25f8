"""The acceptance stories, played by REST on a running mesh and checked event by event in the streams.

The demo (`python -m tests.story`) and `tests/flows/` share it.
"""
