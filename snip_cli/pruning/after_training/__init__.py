"""Methods that prune a trained network."""
