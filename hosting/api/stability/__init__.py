"""Stability AI's REST API, version 1."""
