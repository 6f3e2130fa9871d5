"""Weights of a composition, found on data and judged on data that they were not found on."""
