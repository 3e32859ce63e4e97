"""From a client's inputs to a finished prediction. It knows no HTTP of ours."""
