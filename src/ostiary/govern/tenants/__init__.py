"""Tenants: who is kept apart from whom. A tenant's name is its id: given once, never changed, never used again."""
