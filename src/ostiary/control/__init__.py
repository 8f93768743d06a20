"""The control plane: what operators decided becomes a snapshot."""
