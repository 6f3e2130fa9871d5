"""Evaluation: base and adapters on the same items, with what a difference is worth."""
