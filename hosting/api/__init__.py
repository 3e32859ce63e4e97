"""HTTP: who may ask, and what each API takes and answers. Nothing but `app` imports it."""
