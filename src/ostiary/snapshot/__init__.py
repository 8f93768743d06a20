"""The contract between the planes: what operators decided, compiled into one immutable, versioned value."""
