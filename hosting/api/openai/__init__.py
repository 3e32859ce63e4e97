"""OpenAI's API of images."""
