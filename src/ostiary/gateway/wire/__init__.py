"""Framing shared by dialects: JSON, events, fields."""
