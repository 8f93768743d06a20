"""What is known of each upstream."""
