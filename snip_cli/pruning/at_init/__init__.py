"""Methods that prune at initialisation."""
