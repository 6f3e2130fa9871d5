"""Advice: fine-tune or retrieve, what it costs, and what went wrong with a run."""
