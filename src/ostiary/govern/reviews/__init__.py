"""Reviews: calls that were handed over to a person, and what one decided."""
