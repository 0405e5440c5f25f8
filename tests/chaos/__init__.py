"""`make chaos`: real processes, killed and starved in every way there is, then all compared with all."""
