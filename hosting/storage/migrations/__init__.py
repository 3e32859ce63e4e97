"""The tables' history: each file in `versions` is a step, whose `down_revision` is the last's."""
