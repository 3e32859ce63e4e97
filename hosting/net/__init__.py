"""The world outside: downloads and calls that never reach an inner network, and signed links."""
