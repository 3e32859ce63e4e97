"""Executors: how the calls of the loaded model's parts are made."""
