"""Hostile inputs as data, and the requests that bring them to every operation of a front.

`requests` makes the requests from the front's own OpenAPI document and the model's, so that a new
operation, field or input is attacked as soon as it is documented. `pictures` are for whatever reads
pictures. Hostile weights are in tests/support/hostile_weights.py.
"""
