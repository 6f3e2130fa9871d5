"""Real commands, killed at any moment, and the registry that they leave."""
