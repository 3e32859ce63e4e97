"""The hosted front: API, queue, safe downloads. It speaks Cog's HTTP and never imports the engine."""
