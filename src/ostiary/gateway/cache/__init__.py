"""Answers kept."""
