"""The hosted front: API, queue, safe downloads. It speaks Cog's HTTP and knows no engine."""
