"""Usage: what calls consumed and cost, as projected from the journal; and the question that reports ask of it."""
