"""The HTTP APIs: who may ask, and what each API takes and answers. Nothing below imports it."""
