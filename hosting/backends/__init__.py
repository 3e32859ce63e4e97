"""Cog servers: their client, their process, and what the queue must know of each."""
