"""What is run as its users run it."""
