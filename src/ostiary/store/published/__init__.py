"""What the control plane published, as a data worker sees it: the snapshot file and the key files."""
