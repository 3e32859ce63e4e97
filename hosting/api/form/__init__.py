"""What the web form asks for, and nobody else."""
