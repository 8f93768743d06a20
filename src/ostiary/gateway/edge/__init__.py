"""HTTP in and out: which path is what, who may use it, and the answers that need no call."""
