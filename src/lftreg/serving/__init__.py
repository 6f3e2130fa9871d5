"""Serving: every adapter of a registry by name, over one base, in mixed batches."""
