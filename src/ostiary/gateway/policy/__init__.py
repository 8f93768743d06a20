"""What a principal may do."""
