"""The plugins that come with lftreg. They use the hooks that any plugin uses."""
