"""Whether an answer that came is good enough: whether it has the form that was asked for, and whether it is poor."""
