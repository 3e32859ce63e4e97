"""The training of LoRAs: low-rank differences that give a model a style or a thing."""
