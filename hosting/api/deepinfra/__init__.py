"""DeepInfra's API."""
