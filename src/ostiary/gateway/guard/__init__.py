"""What content holds, and what is done about it."""
