"""The schema of each predictor, from the text of predict.py, and the choice of the predictor."""
