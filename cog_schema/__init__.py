"""The schema of each predictor, from the text of predict.py, and which predictor serves a model."""
