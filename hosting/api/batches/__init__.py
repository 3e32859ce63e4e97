"""Batches: many predictions by one request, in a form of our own and in OpenAI's."""
