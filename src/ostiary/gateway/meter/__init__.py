"""What a call costs: estimated, held, priced."""
